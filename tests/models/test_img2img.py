"""Drawing over an image, whole or within a mask, is plain diffusers' own, bit for bit, for every family."""

from __future__ import annotations

import math
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from core.config.loader import PROJECT_ROOT
from core.errors import CorruptImageError, InputCombinationError
from core.inference import latent_preview
from core.inference.generator import build_generator
from core.models.families import FAMILIES as DESCRIBED
from core.types import Phase, ResumeState
from tests.models import tiny_models
from tests.models.conftest import WEIGHTS
from tests.options import measured

FAMILIES = {
    "demo": (None, "ZImage", 0.0),
    "sd": (tiny_models.stable_diffusion, "StableDiffusion", 1.0),
    "sdxl": (tiny_models.stable_diffusion_xl, "StableDiffusionXL", 1.0),
}


def scene(size=(128, 96)):
    """An image with edges and colours, not one that a model would draw."""
    image = Image.new("RGB", size, (40, 90, 160))
    pen = ImageDraw.Draw(image)
    pen.rectangle((size[0] // 4, size[1] // 3, size[0] // 2, size[1]), fill=(200, 60, 40))
    pen.ellipse((size[0] // 2, 5, size[0] - 9, size[1] // 2), fill=(240, 220, 90))
    return image


def hole(size=(128, 96)):
    """A mask: white on the right half but for a frame."""
    mask = Image.new("RGB", size, "black")
    ImageDraw.Draw(mask).rectangle((size[0] // 2, 8, size[0] - 9, size[1] - 9), fill="white")
    return mask


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def own():
    return build_generator(PROJECT_ROOT / "configs")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """(name for requests, folder, stem of the pipelines' names, what their guidance counts more)."""
    make, stem, more = FAMILIES[request.param]
    folder = WEIGHTS if make is None else make(tmp_path_factory.mktemp(request.param) / "toy")
    return ("demo" if make is None else str(folder)), folder, stem, more


def generated_by_diffusers(folder, kind, request, more, **given):
    pipeline = getattr(diffusers, kind).from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or None,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.cfg_scale - 1 + more,
        generator=torch.Generator().manual_seed(request.seed),
        **given,
    ).images[0]


@pytest.mark.by_default("demo-0.3-2.5", "sd-0.3-0.0", "sdxl-1.0-2.5")
@pytest.mark.option("img2img.denoising_strength")
@pytest.mark.parametrize("guidance", [0.0, 2.5])
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_from_a_image_it_is_plain_diffusers(own, family, request_of, guidance, strength):
    name, folder, stem, more = family
    request = request_of(
        model=name, width=128, height=96, num_inference_steps=6, cfg_scale=guidance + 1, negative_prompt="grey",
        changed={"img2img.denoising_strength": strength},
    )  # fmt: skip
    seen = []
    mine = own.generate(request, seen.append, attempt=ResumeState(inputs={"image": scene()})).images[0]
    theirs = generated_by_diffusers(folder, f"{stem}Img2ImgPipeline", request, more, image=scene(), strength=strength)
    assert np.array_equal(pixels(mine.image), pixels(theirs))
    run = DESCRIBED[own.loaded.info.pipeline].steps_run(6, strength)
    assert mine.effective["img2img.steps"] == run
    if strength < 1:
        measured("img2img.denoising_strength", f"{strength:g}: {run} of 6 steps run, as in plain diffusers")
    steps = [told.step for told in seen if told.phase is Phase.STEPS]
    assert {told.steps for told in seen if told.phase is Phase.STEPS} == {run}
    assert steps in (list(range(1, run + 1)), [*range(1, run + 1), run]), "PNDM takes a step more"


@pytest.mark.by_default("demo-0.6", "sdxl-1.0")
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_within_a_mask_it_is_plain_diffusers_and_outside_the_input_itself(own, family, request_of, strength):
    name, folder, stem, more = family
    request = request_of(
        model=name, width=128, height=96, num_inference_steps=5, cfg_scale=2.5,
        changed={"img2img.denoising_strength": strength},
    )  # fmt: skip
    given = {"image": scene(), "mask_image": hole()}
    mine = own.generate(request, attempt=ResumeState(inputs=given)).images[0]
    theirs = generated_by_diffusers(
        folder, f"{stem}InpaintPipeline", request, more, **given, strength=strength, width=128, height=96
    )
    white = pixels(hole())[..., 0] > 0
    assert np.array_equal(pixels(mine.image)[white], pixels(theirs)[white])
    assert np.array_equal(pixels(mine.image)[~white], pixels(scene())[~white]), "its own pixels, exactly"
    assert not np.array_equal(pixels(theirs)[~white], pixels(scene())[~white]), "which the VAE alone would change"
    assert not np.array_equal(pixels(mine.image)[white], pixels(scene())[white])


@pytest.mark.by_default("demo", "sdxl")
def test_text_to_image_is_as_before_after_it(own, family, request_of):
    name = family[0]
    request = request_of(model=name, width=64, height=64)
    before = own.generate(request).images[0]
    own.generate(request, attempt=ResumeState(inputs={"image": scene(), "mask_image": hole()}))
    after = own.generate(request).images[0]
    assert np.array_equal(pixels(before.image), pixels(after.image))
    assert "img2img.steps" not in before.effective
    assert "encode" not in own.loaded.pipeline.vae.__dict__


@pytest.mark.by_default("demo")
def test_nothing_is_in_memory_twice(own, family, request_of):
    own.generate(request_of(model=family[0], width=64, height=64), attempt=ResumeState(inputs={"image": scene()}))
    parts = {name: part for name, part in own.loaded.pipeline.components.items() if isinstance(part, torch.nn.Module)}
    before = {name: [weight.data_ptr() for weight in part.parameters()] for name, part in parts.items()}
    own.generate(request_of(model=family[0], width=64, height=64), attempt=ResumeState(inputs={"image": scene()}))
    for name, part in own.loaded.pipeline.components.items():
        if name in before:
            assert [weight.data_ptr() for weight in part.parameters()] == before[name]


@pytest.mark.by_default("demo-True-asked0", "demo-False-asked1", "sdxl-True-asked1", "sd-False-asked0")
@pytest.mark.parametrize("asked", [(67, 91), (160, 64)])
@pytest.mark.parametrize("resize", [False, True])
def test_any_size_is_delivered_and_what_is_not_generated_anew_stays_in_its_place(own, family, request_of, asked, resize):
    """A small part is drawn anew, so the rest must be the input, scaled to cover and cut, to the pixel."""
    mask = Image.new("RGB", (128, 96), "black")
    ImageDraw.Draw(mask).rectangle((60, 40, 80, 60), fill="white")
    request = request_of(
        model=family[0], width=asked[0], height=asked[1], num_inference_steps=2,
        changed={"force_original_resolution": not resize},
    )  # fmt: skip
    generated = own.generate(request, attempt=ResumeState(inputs={"image": scene(), "mask_image": mask})).images[0]
    assert generated.image.size == asked
    expected, covered = (
        image if asked == image.size else ImageOps.fit(image, asked, method=Image.Resampling.LANCZOS)
        for image in (scene(), mask.convert("L"))
    )  # fmt: skip
    black = pixels(covered) == 0
    assert np.array_equal(pixels(generated.image)[black], pixels(expected)[black])
    assert black.mean() > 0.7


@pytest.mark.slow
def test_a_weak_strength_leaves_more_of_the_image(own, request_of):
    """With sizes that need a frame around them: the middle is the image, not a shifted or scaled one."""
    gaps = []
    for strength in (0.15, 0.5, 1.0):
        request = request_of(
            width=120, height=88, num_inference_steps=8, changed={"img2img.denoising_strength": strength}
        )
        made = own.generate(request, attempt=ResumeState(inputs={"image": scene((120, 88))})).images[0].image
        gaps.append(np.abs(pixels(made) - pixels(scene((120, 88)))).mean())
    assert gaps[0] < gaps[1] < gaps[2]


def test_a_soft_mask_blends(own, request_of):
    mask = hole().filter(ImageFilter.GaussianBlur(4))
    given = {"image": scene(), "mask_image": mask}
    image = own.generate(request_of(width=128, height=96), attempt=ResumeState(inputs=given)).images[0].image
    alone = pixels(mask)[..., 0] == 0
    assert np.array_equal(pixels(image)[alone], pixels(scene())[alone])


def test_a_black_mask_is_told(own, request_of):
    given = {"image": scene(), "mask_image": Image.new("RGB", (128, 96), (99, 99, 99))}
    with pytest.raises(InputCombinationError, match="black"):
        own.generate(request_of(width=128, height=96), attempt=ResumeState(inputs=given))


@pytest.mark.slow
def test_another_precision_of_the_vae_than_of_the_rest(own, family, request_of):
    """The image is encoded in the VAE's own precision, which stays what it was."""
    changed = {"model.dtype": "bfloat16", "vae.dtype": "float32"}
    for given in ({"image": scene()}, {"image": scene(), "mask_image": hole()}):
        request = request_of(model=family[0], width=64, height=64, changed=changed)
        assert own.generate(request, attempt=ResumeState(inputs=given)).images[0].image.size == (64, 64)
        assert own.loaded.pipeline.vae.dtype is torch.float32
    upcast = own.loaded.pipeline.vae.config.force_upcast
    assert upcast == type(own.loaded.pipeline.vae).load_config(_vae_folder(family)).get("force_upcast", True)


def _vae_folder(family):
    return family[1] / "vae"


def test_a_image_that_the_vae_cannot_encode_is_told_and_the_ladder_is_climbed(own, request_of, monkeypatch):
    request = request_of(width=64, height=64, changed={"model.dtype": "bfloat16"})
    given = ResumeState(inputs={"image": scene((64, 64))})
    own.generate(request, attempt=given)
    vae = type(own.loaded.pipeline.vae)
    encode = vae.encode

    def broken(self, pixels, **named):
        found = encode(self, pixels, **named)
        if self.dtype is torch.bfloat16:
            found.latent_dist.parameters[:] = float("nan")
        return found

    monkeypatch.setattr(vae, "encode", broken)
    image = own.generate(request, attempt=given).images[0]
    assert image.effective["model.dtype"] == "float32"
    told = [choice for choice in image.decisions if choice.option == "model.dtype" and "vae" in choice.reason["en"]]
    assert told and "step 0" in told[0].reason["en"]
    with pytest.raises(CorruptImageError, match="vae"):
        own.generate(replace(request, options={**request.options, "precision.auto_retry": False}), attempt=given)


def test_tiles_act_on_the_encoder_too(own, request_of, monkeypatch):
    seen = []
    vae_class = type(own.loaded.pipeline.vae)
    tiled = vae_class._tiled_encode
    monkeypatch.setattr(vae_class, "_tiled_encode", lambda self, x: seen.append(x.shape) or tiled(self, x))
    changed = {"vae.enable_tiling": True, "vae.tile_sample_min_size": 64, "vae.tiling_mode": "fast"}
    own.generate(request_of(width=128, height=96, changed=changed), attempt=ResumeState(inputs={"image": scene()}))
    assert seen == [(1, 3, 96, 128)]


def test_previews_of_a_forming_image_are_told(own, request_of, monkeypatch):
    monkeypatch.setattr(latent_preview, "SHARE", math.inf)  # however fast its steps are
    seen = []
    request = request_of(width=128, height=96, changed={"img2img.denoising_strength": 1.0, "preview.interval": 1})
    own.generate(request, seen.append, attempt=ResumeState(inputs={"image": scene()}))
    assert sum(told.preview is not None for told in seen) == 4, "and the first step, too"
