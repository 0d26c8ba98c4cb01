"""LoRAs together with what else changes an image: an image to start from, a ControlNet, a second pass. As plain diffusers."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
import yaml
from diffusers import ControlNetModel, StableDiffusionPipeline, StableDiffusionXLPipeline, ZImagePipeline
from PIL import Image

from core.config.loader import PROJECT_ROOT
from core.inference.generator import Generator, build_generator
from core.models.catalog import Catalog
from core.models.lora_library import LoraLibrary
from core.models.model_paths import EMBEDDED, ModelPaths
from core.types import CONTROL, ResumeState
from tests.models import tiny_models
from tests.models.loras import write_lora
from tests.models.test_img2img import hole, scene

SIZE = {"width": 128, "height": 96}
INK = {"lora.use": ("ink-print:0.75",)}
ON = {"hires.enabled": True, "hires.scale": 2.0, "hires.denoising_strength": 0.5}
STEMS = {"sd": "StableDiffusion", "sdxl": "StableDiffusionXL"}


@pytest.fixture(scope="module", params=STEMS)
def toy(request, tmp_path_factory):
    """A model, its LoRA, a generator over both, for SDXL with a ControlNet beside it."""
    box = tmp_path_factory.mktemp("toy")
    shutil.copytree(PROJECT_ROOT / "configs", box / "configs")
    xl = request.param == "sdxl"
    folder = (tiny_models.stable_diffusion_xl if xl else tiny_models.stable_diffusion)(box / "plain")
    kind = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
    plain = kind.from_pretrained(folder, dtype=torch.float32)
    lora = write_lora(box / "loras" / "net.safetensors", plain, 4, parts=("unet", "text_encoder"))
    entries = {"plain": {"path": str(folder)}}
    if xl:
        entries["control"] = {"path": str(tiny_models.sdxl_network(box / "network")), "base": "plain"}
    for name, entry in entries.items():
        (box / "configs" / "models" / f"{name}.yaml").write_text(yaml.safe_dump({"id": name, **entry}))
    own = Generator(Catalog(box / "configs", ModelPaths(box / "store")), loras=LoraLibrary(box / "loras"))
    plain.load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="net")
    plain.set_adapters(["net"], [0.8])
    return SimpleNamespace(box=box, plain=plain, own=own, stem=STEMS[request.param], xl=xl)


def theirs(toy, name, request, **given):
    """By plain diffusers, with the LoRA that is in its parts."""
    kind = getattr(diffusers, f"{toy.stem}{name}Pipeline")
    more = {"add_watermarker": False} if toy.xl else {"requires_safety_checker": False}
    extra = {"controlnet": given.pop("controlnet")} if "controlnet" in given else {}
    pipeline = kind(**toy.plain.components, **more, **extra)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        prompt=request.prompt, num_inference_steps=request.num_inference_steps, guidance_scale=request.cfg_scale,
        generator=torch.Generator().manual_seed(request.seed), **given,
    ).images[0]  # fmt: skip
    return np.asarray(image)


def generated(generator, request, **inputs):
    return np.asarray(generator.generate(request, attempt=ResumeState(inputs=inputs)).images[0].image)


@pytest.mark.by_default("sdxl")
@pytest.mark.slow
def test_over_a_image(toy, request_of):
    fields = {"model": "plain", "num_inference_steps": 5, "cfg_scale": 3.0, **SIZE}
    request = request_of(changed={"lora.use": ("net:0.8",), "img2img.denoising_strength": 0.6}, **fields)
    mine = generated(toy.own, request, image=scene())
    assert np.array_equal(mine, theirs(toy, "Img2Img", request, image=scene(), strength=0.6))
    assert not np.array_equal(
        mine, generated(toy.own, request_of(changed={"img2img.denoising_strength": 0.6}, **fields), image=scene())
    )


@pytest.mark.slow
def test_within_a_mask(toy, request_of):
    fields = {"model": "plain", "num_inference_steps": 5, "cfg_scale": 3.0, **SIZE}
    request = request_of(changed={"lora.use": ("net:0.8",), "img2img.denoising_strength": 0.6}, **fields)
    mine = generated(toy.own, request, image=scene(), mask_image=hole())
    other = theirs(toy, "Inpaint", request, image=scene(), mask_image=hole(), strength=0.6, **SIZE)
    white = np.asarray(hole())[..., 0] > 0
    assert np.array_equal(mine[white], other[white])
    assert np.array_equal(mine[~white], np.asarray(scene())[~white])


def test_with_a_control_net(toy, request_of):
    if not toy.xl:
        pytest.skip("of SDXL alone")
    fields = {"model": "control", "cfg_scale": 3.0, **SIZE}
    as_it_is = {"controlnet.preprocessor": "none"}
    request = request_of(changed={"lora.use": ("net:0.8",), **as_it_is}, **fields)
    mine = generated(toy.own, request, **{CONTROL: scene()})
    network = ControlNetModel.from_pretrained(toy.box / "network", dtype=torch.float32)
    assert np.array_equal(mine, theirs(toy, "ControlNet", request, image=scene(), controlnet=network, **SIZE))
    assert not np.array_equal(mine, generated(toy.own, request_of(changed=as_it_is, **fields), **{CONTROL: scene()}))


# -- Z-Image -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own():
    return build_generator(PROJECT_ROOT / "configs")


@pytest.mark.slow
def test_z_image_over_a_image(own, request_of):
    request = request_of(changed={**INK, "img2img.denoising_strength": 0.5}, **SIZE)
    mine = generated(own, request, image=scene())
    plain = ZImagePipeline.from_pretrained(EMBEDDED, dtype=torch.float32)
    plain.load_lora_weights(
        str(PROJECT_ROOT / "core" / "demo" / "lora"), weight_name="ink-print.safetensors", adapter_name="ink"
    )
    plain.set_adapters(["ink"], [0.75])
    over = diffusers.ZImageImg2ImgPipeline(**plain.components)
    over.set_progress_bar_config(disable=True)
    other = over(
        prompt=request.prompt, image=scene(), strength=0.5, num_inference_steps=4, guidance_scale=0.0,
        generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.array_equal(mine, np.asarray(other))


def test_both_passes_have_it(own, request_of):
    size = {"width": 160, "height": 128}
    both = own.generate(request_of(changed={**INK, **ON}, **size)).images[0]
    small = generated(own, request_of(changed=INK, width=80, height=64))
    large = Image.fromarray(small).resize((160, 128), Image.Resampling.LANCZOS)
    over = generated(own, request_of(changed={**INK, "img2img.denoising_strength": 0.5}, **size), image=large)
    assert np.array_equal(np.asarray(both.image), over)
    assert [file["name"] for file in both.effective["lora.files"]] == ["ink-print"]
    assert not np.array_equal(np.asarray(both.image), generated(own, request_of(changed=ON, **size)))


@pytest.mark.slow
def test_z_image_with_a_control_net(tmp_path, request_of):
    """It acts, and goes without a trace."""
    shutil.copytree(PROJECT_ROOT / "configs", tmp_path / "configs")
    folder = tiny_models.z_image(tmp_path / "z")
    tiny_models.z_image_network().save_pretrained(tmp_path / "network")
    for name, entry in {"z": {"path": str(folder)}, "zc": {"path": str(tmp_path / "network"), "base": "z"}}.items():
        (tmp_path / "configs" / "models" / f"{name}.yaml").write_text(yaml.safe_dump({"id": name, **entry}))
    plain = ZImagePipeline.from_pretrained(folder, dtype=torch.float32)
    write_lora(tmp_path / "loras" / "z.safetensors", plain, 5)
    own = Generator(
        Catalog(tmp_path / "configs", ModelPaths(tmp_path / "store")), loras=LoraLibrary(tmp_path / "loras")
    )
    images = [
        generated(own, request_of(model="zc", changed={"lora.use": use}, width=64, height=80), **{CONTROL: scene()})
        for use in ((), ("z:1",), ())
    ]
    assert not np.array_equal(images[0], images[1]) and np.array_equal(images[0], images[2])
