"""ControlNet for SDXL and Z-Image, on toys of the real classes: whole folders, folders beside a base, single files."""

from __future__ import annotations

import json
import shutil
from functools import cache

import cv2
import numpy as np
import pytest
import torch
import yaml
from diffusers import (
    ControlNetModel,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
    ZImageControlNetInpaintPipeline,
    ZImageControlNetModel,
    ZImageControlNetPipeline,
)
from PIL import Image
from safetensors.torch import load_file, save_file

from core.config.loader import PROJECT_ROOT
from core.errors import InputCombinationError, ModelFileError
from core.inference import controlnet
from core.inference.control_maps import canny
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.families.z_image.backend import own_layers
from core.models.fingerprint import part_hashes
from core.models.model_paths import ModelPaths
from core.models.part_sources import count_parameters
from core.types import CONTROL, IMAGE, MASK, ResumeState
from tests.models import tiny_models
from tests.options import measured

SIZE = {"width": 64, "height": 80}
VERSIONS = {"v1": {}, "v20": {"step": 2, "kind": "control_layers"}, "v21": {"step": 2, "kind": "control_noise_refiner"}}
SDXL = ("whole", "beside")
Z_IMAGE = (*VERSIONS, "folder")


@pytest.fixture(scope="module")
def toy_box(tmp_path_factory):
    """A folder with every kind of toy, and a catalogue that names them."""
    box = tmp_path_factory.mktemp("control")
    shutil.copytree(PROJECT_ROOT / "configs", box / "configs")
    tiny_models.stable_diffusion_xl_control(box / "whole")
    tiny_models.z_image(box / "z")
    networks = {name: tiny_models.z_image_network(**shape) for name, shape in VERSIONS.items()}
    for name, network in networks.items():
        save_file(network.state_dict(), box / f"{name}.safetensors")
        network.save_config(box / f"config-{name}")
    networks["v21"].save_pretrained(box / "folder")
    entries = {
        "whole": {},
        "plain": {},
        "z": {},
        "beside": {"path": "network", "base": "plain"},
        "folder": {"base": "z"},
    }
    entries |= {name: {"path": f"{name}.safetensors"} for name in VERSIONS}
    for name, entry in entries.items():
        told = {"id": name, **entry, "path": str(box / entry.get("path", name))}
        (box / "configs" / "models" / f"{name}.yaml").write_text(yaml.safe_dump(told))
    return box


@pytest.fixture(scope="module")
def catalog(toy_box):
    return Catalog(toy_box / "configs", ModelPaths(toy_box / "store"))


@pytest.fixture(scope="module")
def own(catalog):
    return Generator(catalog)


@pytest.fixture(scope="module")
def image():
    """A disc and a bar, with soft sides: there are strong edges and weak ones."""
    y, x = np.mgrid[0:80, 0:64]
    disc = np.clip(3 * (20 - np.hypot(x - 32, y - 30)), 0, 200)
    bar = np.where((y > 60) & (y < 70), 90, 0)
    return Image.fromarray(np.stack([disc, bar, disc / 2 + bar], -1).astype(np.uint8))


@pytest.fixture
def generate(own, request_of, image):
    def run(model, image=image, **fields):
        request = request_of(model=model, **{**SIZE, **fields})
        return own.generate(request, attempt=ResumeState(inputs={CONTROL: image} if image else {})).images[0]

    return run


@cache
def plain_pipeline(box, model):
    """diffusers as anyone would use it."""
    if model in SDXL:
        network = ControlNetModel.from_pretrained(box / "network", dtype=torch.float32)
        made = StableDiffusionXLControlNetPipeline.from_pretrained(
            box / "plain", controlnet=network, dtype=torch.float32
        )
    else:
        network = _z_image_network(box, model)
        made = ZImageControlNetPipeline.from_pretrained(box / "z", controlnet=network, dtype=torch.float32)
    made.set_progress_bar_config(disable=True)
    return made


def _z_image_network(box, model):
    """Read from its file, not made anew: where weights lie in memory decides the last bit of a sum."""
    if model == "folder":
        return ZImageControlNetModel.from_pretrained(box / model, dtype=torch.float32)
    file, config = str(box / f"{model}.safetensors"), str(box / f"config-{model}")
    return ZImageControlNetModel.from_single_file(file, config=config, dtype=torch.float32, local_files_only=True)


def theirs(box, model, generated, guidance=0.0, **more):
    sdxl = model in SDXL
    image = {"image" if sdxl else "control_image": generated}
    return plain_pipeline(box, model)(
        "a red house, day", **image, **SIZE, num_inference_steps=4, guidance_scale=guidance + sdxl,
        generator=torch.Generator().manual_seed(7), **more,
    ).images[0]  # fmt: skip


def pixels(image):
    return np.asarray(image).astype(np.int16)


def same(one, other):
    return np.array_equal(pixels(one), pixels(other))


# -- what is drawn -----------------------------------------------------------------------------------------------------


@pytest.mark.by_default("3.0-beside", "3.0-v21")
@pytest.mark.parametrize("model", [*SDXL, *Z_IMAGE])
@pytest.mark.parametrize("guidance", [0.0, 3.0])
@pytest.mark.option("controlnet.preprocessor")
@pytest.mark.by_default("3.0-v21")
def test_pixels_are_those_of_plain_diffusers(toy_box, generate, image, model, guidance):
    used_as_it_is = generate(model, cfg_scale=guidance + 1, changed={"controlnet.preprocessor": "none"})
    assert same(used_as_it_is.image, theirs(toy_box, model, image, guidance))
    outlines = Image.fromarray(cv2.Canny(np.asarray(image), 100, 200)).convert("RGB")
    assert same(generate(model, cfg_scale=guidance + 1).image, theirs(toy_box, model, outlines, guidance))
    followed = theirs(toy_box, model, outlines, guidance)
    assert not same(used_as_it_is.image, followed)
    gap = np.abs(pixels(used_as_it_is.image) - pixels(followed)).mean()
    measured(
        "controlnet.preprocessor",
        f"canny or none: pixels {gap:.1f}/255 apart on average, each as plain diffusers draws it",
    )


def masked(image):
    """A mask with a white rectangle for the image, L."""
    mask = Image.new("L", image.size)
    mask.paste(255, (16, 16, 48, 64))
    return mask


@pytest.mark.by_default("v21")
@pytest.mark.parametrize("model", ["v20", "v21"])
def test_z_image_inpaints_as_plain_diffusers(toy_box, own, request_of, image, model):
    """Within the mask; all steps are run, from noise alone. Outside the pixels are the input's own."""
    source, mask = image.rotate(90, expand=True).resize(image.size), masked(image)
    request = request_of(model=model, **SIZE, changed={"controlnet.preprocessor": "none"})
    generated = own.generate(request, attempt=ResumeState(inputs={CONTROL: image, IMAGE: source, MASK: mask})).images[0]
    parts = plain_pipeline(toy_box, model).components
    pipeline = ZImageControlNetInpaintPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    plain = pipeline("a red house, day", image=source, mask_image=mask, control_image=image, **SIZE, num_inference_steps=4,
                     guidance_scale=0.0, generator=torch.Generator().manual_seed(7)).images[0]  # fmt: skip
    white = pixels(mask) > 0
    assert np.array_equal(pixels(generated.image)[white], pixels(plain)[white])
    assert np.array_equal(pixels(generated.image)[~white], pixels(source)[~white])
    assert generated.effective["img2img.steps"] == 4


def test_z_image_control_without_a_masks_channels_is_refused(own, request_of, image):
    given = ResumeState(inputs={CONTROL: image, IMAGE: image, MASK: masked(image)})
    with pytest.raises(InputCombinationError, match="no channels for inpainting"):
        own.generate(request_of(model="v1", **SIZE), attempt=given)


@pytest.mark.by_default("True")
@pytest.mark.parametrize("with_mask", [False, True])
def test_sdxl_goes_over_an_image_as_plain_diffusers(toy_box, own, request_of, image, with_mask):
    source, mask = image.rotate(90, expand=True).resize(image.size), masked(image)
    changed = {"controlnet.preprocessor": "none", "img2img.denoising_strength": 0.5}
    given = {CONTROL: image, IMAGE: source, **({MASK: mask} if with_mask else {})}
    generated = own.generate(request_of(model="beside", **SIZE, changed=changed), attempt=ResumeState(inputs=given)).images[
        0
    ]
    kind = StableDiffusionXLControlNetInpaintPipeline if with_mask else StableDiffusionXLControlNetImg2ImgPipeline
    pipeline = kind(**plain_pipeline(toy_box, "beside").components)
    pipeline.set_progress_bar_config(disable=True)
    more = {"controlnet_conditioning_scale": 1.0, **({"mask_image": mask} if with_mask else {})}
    plain = pipeline("a red house, day", image=source, control_image=image, strength=0.5, **SIZE, num_inference_steps=4,
                     guidance_scale=1.0, generator=torch.Generator().manual_seed(7), **more).images[0]  # fmt: skip
    white = pixels(mask) > 0 if with_mask else np.ones((80, 64), bool)
    assert np.array_equal(pixels(generated.image)[white], pixels(plain)[white])


@pytest.mark.by_default("v1")
@pytest.mark.parametrize("model", ["beside", "v1", "folder"])
@pytest.mark.option("controlnet.scale")
def test_strength(toy_box, generate, image, model):
    generated = generate(model, changed={"controlnet.preprocessor": "none", "controlnet.scale": 0.3})
    assert same(generated.image, theirs(toy_box, model, image, controlnet_conditioning_scale=0.3))
    free = generate("plain" if model == "beside" else "z", image=None)
    assert same(generate(model, changed={"controlnet.scale": 0.0}).image, free.image), "at 0 the ControlNet says nothing"
    away = [
        np.abs(pixels(generate(model, changed={"controlnet.scale": by}).image) - pixels(free.image)).mean()
        for by in (0.1, 1.0)
    ]
    assert away[0] < away[1]
    measured("controlnet.scale", f"{away[0]:.2f} and {away[1]:.2f} levels away at 0.1 and 1")
    assert generate(model).effective["controlnet.scale"] == (1.0 if model == "beside" else 0.75)


@pytest.mark.option("controlnet.start", "controlnet.end")
def test_from_when_to_when(toy_box, generate, image):
    generated = generate(
        "beside", changed={"controlnet.preprocessor": "none", "controlnet.start": 0.25, "controlnet.end": 0.75}
    )
    assert same(generated.image, theirs(toy_box, "beside", image, control_guidance_start=0.25, control_guidance_end=0.75))
    whole = theirs(toy_box, "beside", image)
    assert not same(generated.image, whole)
    gap = np.abs(pixels(generated.image) - pixels(whole)).mean()
    for key in ("controlnet.start", "controlnet.end"):
        measured(key, f"0.25 to 0.75: pixels {gap:.2f}/255 from 0 to 1 on average, as in plain diffusers")


@pytest.mark.by_default("0.25-0.75-heard2")
@pytest.mark.parametrize(("start", "end", "heard"), [(0.5, 1.0, [2, 3]), (0.0, 0.5, [0, 1]), (0.25, 0.75, [1, 2])])
def test_z_image_has_a_start_and_an_end_by_the_same_rule(own, generate, start, end, heard):
    generate("v1")
    network, scales = own.loaded.pipeline.controlnet, []
    told = network.register_forward_hook(
        lambda _, given, named, out: scales.append(named["conditioning_scale"]), with_kwargs=True
    )
    try:
        part = generate("v1", changed={"controlnet.start": start, "controlnet.end": end}).image
        assert [step for step, scale in enumerate(scales) if scale] == heard
        assert not same(part, generate("v1").image)
        assert scales[-4:] == [0.75] * 4, "nothing is left of it afterwards"
    finally:
        told.remove()


@pytest.mark.by_default("0.5-3")
@pytest.mark.parametrize(("end", "heard"), [(1.0, 7), (0.5, 3)])
def test_window_counts_both_evaluations_of_a_heun_step(own, generate, end, heard):
    generate("v1")
    scales = []
    told = own.loaded.pipeline.controlnet.register_forward_hook(
        lambda _, given, named, out: scales.append(named["conditioning_scale"]), with_kwargs=True
    )
    try:
        generate("v1", changed={"generation.sampler": "heun", "controlnet.end": end})
    finally:
        told.remove()
    assert [index for index, scale in enumerate(scales) if scale] == list(range(heard))
    assert len(scales) == 7


@pytest.mark.option("controlnet.canny_low", "controlnet.canny_high")
def test_thresholds_of_the_outlines():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 120, (64, 64, 3), np.uint8))
    counts = {limits: int((pixels(canny(image, *limits)) > 0).sum()) for limits in ((50, 100), (50, 250), (240, 250))}
    assert counts[50, 100] > counts[50, 250] >= counts[240, 250] > 0
    measured("controlnet.canny_low", f"{counts[50, 250] // 3} and {counts[240, 250] // 3} white pixels at 50 and 240")
    measured("controlnet.canny_high", f"{counts[50, 100] // 3} and {counts[50, 250] // 3} white pixels at 100 and 250")


def test_another_size_is_covered_and_cut(own, generate):
    wide = Image.new("RGB", (300, 100))
    wide.paste("white", (100, 0, 200, 100))
    seen, plain = [], controlnet.control_map
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(controlnet, "control_map", lambda image, *more: seen.append(image) or plain(image, *more))
        generate("beside", image=wide, width=67, height=67)
    assert seen[0].size == (72, 72)
    assert pixels(seen[0]).min() > 230, "the middle of it, not the whole pressed together"


@pytest.mark.parametrize("model", ["beside", "v1"])
@pytest.mark.by_default("v1")
def test_any_size_is_delivered_exactly(generate, model):
    assert generate(model, width=67, height=91).image.size == (67, 91)


@pytest.mark.parametrize("model", ["whole", "v1"])
@pytest.mark.by_default("v1")
def test_without_a_control_image_nothing_is_generated(generate, model):
    with pytest.raises(InputCombinationError, match="control_image: this model needs a control image"):
        generate(model, image=None)


# -- what the options of the model do to the ControlNet ----------------------------------------------------------------


def test_positions_and_attention_are_the_transformers(own, generate):
    neutral = generate("v21").image
    turned = generate("v21", changed={"transformer.use_rope": False}).image
    pipeline = own.loaded.pipeline
    assert pipeline.controlnet.rope_embedder is pipeline.transformer.rope_embedder
    assert not same(turned, neutral)
    dropped = generate("v21", changed={"transformer.attention_dropout": 0.2}).image
    processors = {type(layer.attention.processor).__name__ for layer in own_layers(pipeline)}
    assert processors == {"StudioProcessor"}
    assert not same(dropped, neutral)
    assert same(generate("v21").image, neutral), "and back"


@pytest.mark.parametrize("model", ["beside", "v1", "v21"])
@pytest.mark.slow
def test_blocks_on_disk_draw_the_same_image(own, generate, model):
    whole = pixels(generate(model).image)
    small = generate(model, changed={"memory.tier": "4gb", "memory.offload": "disk"})
    assert small.effective["memory.offload"] == "disk"
    assert np.abs(pixels(small.image) - whole).max() <= 2


@pytest.mark.parametrize("model", ["beside", "v1"])
@pytest.mark.slow
def test_half_precision_is_drawn(generate, model):
    assert generate(model, changed={"model.dtype": "bfloat16"}).image.size == (64, 80)
    assert generate(model, changed={"model.dtype": "float16"}).image.size == (64, 80)


@pytest.mark.slow
def test_int8_leaves_the_control_layers_alone(own, generate):
    whole = pixels(generate("v1").image)
    image = generate("v1", changed={"memory.quantization": "int8"})
    assert image.effective["memory.quantization"] == "int8"
    assert np.abs(pixels(image.image) - whole).mean() < 8
    assert {type(p.data).__name__ for p in own_layers(own.loaded.pipeline).parameters()} == {"Tensor"}


# -- what the catalogue says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "base"), [("beside", "plain"), ("v1", "z"), ("folder", "z")])
def test_memory_and_parameters_are_those_of_both(catalog, toy_box, model, base):
    info, beside = catalog.find(model), catalog.find(base)
    assert (info.problem, info.base, info.inputs) == (None, str(toy_box / base), (CONTROL, IMAGE, MASK))
    assert info.memory_bytes > beside.memory_bytes
    counted = count_parameters(toy_box / (info.path or ""), toy_box / base)
    assert counted["controlnet"] > 0
    assert {**counted, "controlnet": 0} == {**count_parameters(toy_box / base), "controlnet": 0}


def test_a_file_of_the_same_layout_with_other_weights_is_told_by_its_part(toy_box, generate, tmp_path):
    network, base = toy_box / "v1.safetensors", toy_box / "z"
    before = part_hashes(network, base)
    assert generate("v1").effective["model.files"] == before and set(before) == {
        "transformer",
        "text_encoder",
        "vae",
        "controlnet",
    }
    other = tmp_path / network.name
    save_file({name: tensor + 1 for name, tensor in load_file(network).items()}, other)
    assert differing(before, part_hashes(other, base)) == {"controlnet"}
    shutil.copytree(base, tmp_path / "z")
    vae = tmp_path / "z" / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(vae).items()}, vae)
    assert differing(before, part_hashes(network, tmp_path / "z")) == {"vae"}


def differing(before, now):
    return {part for part in before if before[part] != now[part]}


def test_options_of_control_are_for_models_that_have_it(catalog):
    assert "ControlNet" in catalog.find("plain").cannot["controlnet.scale"]["en"]
    assert [key for key in catalog.find("v1").cannot if key.startswith("controlnet.")] == ["controlnet.units"]
    assert "controlnet.units" not in catalog.find("plain").cannot
    assert CONTROL not in catalog.find("z").inputs


@pytest.mark.slow
def test_a_whole_folder_of_z_image(catalog, toy_box, own, request_of, image):
    made = ZImageControlNetPipeline.from_pretrained(toy_box / "z", controlnet=tiny_models.z_image_network())
    made.save_pretrained(toy_box / "z-whole")
    request = request_of(model=str(toy_box / "z-whole"), **SIZE, changed={"controlnet.preprocessor": "none"})
    mine = own.generate(request, attempt=ResumeState(inputs={CONTROL: image})).images[0]
    assert np.abs(pixels(mine.image) - pixels(theirs(toy_box, "v1", image))).max() <= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base": "z"}, "diffusers folder of the same family"),
        ({"addition_embed_type": None}, "diffusers folder of the same family"),
        ({"auto_map": {"AutoModel": "mine.py"}}, "names a class of its own"),
        ({"cross_attention_dim": 48}, "diffusers folder of the same family"),
    ],
)
def test_a_control_net_that_does_not_fit_is_named(toy_box, tmp_path, change, said):
    shutil.copytree(toy_box / "configs", tmp_path / "configs")
    shutil.copytree(toy_box / "network", tmp_path / "network")
    base = change.pop("base", "plain")
    config = tmp_path / "network" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    (tmp_path / "configs" / "models" / "other.yaml").write_text(
        f"id: other\npath: {tmp_path / 'network'}\nbase: {base}\n"
    )
    found = Catalog(tmp_path / "configs", ModelPaths(tmp_path / "store")).find("other").problem
    assert said in found.message("en")


def test_a_file_whose_layers_have_unknown_places_is_refused(toy_box, own, request_of, image):
    network = tiny_models.z_image_network(layers=10, step=3)
    save_file(network.state_dict(), toy_box / "odd.safetensors")
    with pytest.raises(ModelFileError, match="number of control layers"):
        own.generate(
            request_of(model=str(toy_box / "odd.safetensors"), **SIZE), attempt=ResumeState(inputs={CONTROL: image})
        )


def test_a_cut_file_is_named_before_anything_is_loaded(toy_box, catalog):
    data = (toy_box / "v1.safetensors").read_bytes()
    (toy_box / "cut.safetensors").write_bytes(data[:-100])
    assert "shorter than its header" in catalog.find(str(toy_box / "cut.safetensors")).problem.message("en")


@pytest.mark.slow
def test_the_networks_class_is_the_one_that_diffusers_reads(own, generate):
    generate("v20")
    assert type(own.loaded.pipeline.controlnet) is ZImageControlNetModel
