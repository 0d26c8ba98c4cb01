"""ControlNets beside a model: one and several, SD 1.5, SDXL, Union and Z-Image, with pixels as plain diffusers makes them."""

import shutil
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

from core.config.control_units import ControlUnit, read_units
from core.config.loader import PROJECT_ROOT
from core.errors import ControlNetError, InputCombinationError, OptionError
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.controlnet_library import ControlNetLibrary
from core.models.families.stable_diffusion import backend as stable_diffusion
from core.models.model_paths import ModelPaths
from core.types import CONTROL, CONTROLS, IMAGE, MASK, ResumeState
from tests.models import tiny_models
from tests.models.loras import write_lora
from tests.options import measured

SIZE = {"width": 64, "height": 64}
UNITS = "controlnet.units"


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """Models, and a store whose folder `controlnet` has networks as folders and as files."""
    box = tmp_path_factory.mktemp("units")
    shutil.copytree(PROJECT_ROOT / "configs", box / "configs")
    nets = box / "store" / "controlnet"
    tiny_models.stable_diffusion(box / "sd15")
    tiny_models.stable_diffusion_xl(box / "sdxl")
    tiny_models.z_image(box / "z")
    tiny_models.sd15_network(nets / "one")
    tiny_models.sd15_network(nets / "two", seed=5)
    tiny_models.sdxl_network(nets / "xl")
    tiny_models.sdxl_union(nets / "union")
    shutil.rmtree(nets / "like-union")
    save_file(tiny_models.z_image_network(step=2, kind="control_layers").state_dict(), nets / "zed.safetensors")
    (nets / "old.pth").write_bytes(b"pickle")
    for name in ("sd15", "sdxl", "z"):
        (box / "configs" / "models" / f"{name}.yaml").write_text(f"id: {name}\npath: {box / name}\n")
    return box


@pytest.fixture(scope="module")
def own(box):
    return Generator(Catalog(box / "configs", ModelPaths(box / "store")))


@pytest.fixture(scope="module")
def images():
    """Two control images, a source image, a mask."""
    y, x = np.mgrid[0:64, 0:64]
    disc = np.clip(3 * (20 - np.hypot(x - 32, y - 30)), 0, 200).astype(np.uint8)
    first = Image.fromarray(np.stack([disc, disc // 2, disc], -1))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    return {CONTROL: first, CONTROLS[1]: first.rotate(90), IMAGE: ImageOps.invert(first), MASK: mask}


@pytest.fixture
def generate(own, request_of, images):
    def run(model, *units, roles=(CONTROL,), changed=None, **fields):
        request = request_of(model=model, changed={UNITS: units, **(changed or {})}, **{**SIZE, **fields})
        return own.generate(request, attempt=ResumeState(inputs={role: images[role] for role in roles})).images[0]

    return run


def plain(kind, model, network, **arguments):
    """diffusers as anyone would use it."""
    base = diffusers.DiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    parts = {name: part for name, part in base.components.items() if name not in ("feature_extractor", "image_encoder")}
    more = {"requires_safety_checker": False, "feature_extractor": None} if model.name == "sd15" else {}
    pipeline = getattr(diffusers, kind)(**parts, controlnet=network, **more)
    pipeline.set_progress_bar_config(disable=True)
    generated = pipeline(
        "a red house, day", num_inference_steps=4, generator=torch.Generator().manual_seed(7), **{**SIZE, **arguments}
    )
    return generated.images[0]


def sd_network(box, name):
    return diffusers.ControlNetModel.from_pretrained(box / "store" / "controlnet" / name, dtype=torch.float32)


def pixels(image):
    return np.asarray(image).astype(np.int16)


def same(one, other):
    return np.array_equal(pixels(one), pixels(other))


@pytest.mark.option("controlnet.units")
def test_two_controlnets_with_weights_and_ranges(box, generate, images):
    both = [images[CONTROL], images[CONTROLS[1]]]
    generated = generate("sd15", "one:0.8:end=0.75", "two:0.5:start=0.25", roles=CONTROLS[:2], cfg_scale=3.0)
    expected = plain(
        "StableDiffusionControlNetPipeline", box / "sd15", [sd_network(box, "one"), sd_network(box, "two")], image=both,
        controlnet_conditioning_scale=[0.8, 0.5], control_guidance_start=[0.0, 0.25], control_guidance_end=[0.75, 1.0],
        guidance_scale=3.0,
    )  # fmt: skip
    assert same(generated.image, expected)
    alone = generate("sd15", "one:0.8:end=0.75", cfg_scale=3.0).image
    assert not same(alone, generated.image) and not same(alone, generate("sd15", roles=(), cfg_scale=3.0).image)
    gap = np.abs(pixels(alone) - pixels(generated.image)).mean()
    measured(UNITS, f"one or two: pixels {gap:.1f}/255 apart on average, each as plain diffusers draws it")
    assert generated.effective[UNITS] == ("one:0.8:end=0.75", "two:0.5:start=0.25")
    assert [file["name"] for file in generated.effective["controlnet.files"]] == ["one", "two"]


@pytest.mark.parametrize(("model", "name"), [("sd15", "one"), pytest.param("sdxl", "xl", marks=pytest.mark.slow)])
def test_with_an_image_and_a_mask(box, generate, images, model, name):
    sdxl = "XL" * (model == "sdxl")
    changed = {"img2img.denoising_strength": 0.5}
    given = {"image": images[IMAGE], "control_image": images[CONTROL], "strength": 0.5, "guidance_scale": 2.0,
             "controlnet_conditioning_scale": 1.0}  # fmt: skip
    over = generate(model, name, roles=(CONTROL, IMAGE), changed=changed, cfg_scale=2.0)
    kind = f"StableDiffusion{sdxl}ControlNetImg2ImgPipeline"
    assert same(over.image, plain(kind, box / model, sd_network(box, name), **given))
    within = generate(model, name, roles=(CONTROL, IMAGE, MASK), changed=changed, cfg_scale=2.0)
    kind = f"StableDiffusion{sdxl}ControlNetInpaintPipeline"
    expected = plain(kind, box / model, sd_network(box, name), mask_image=images[MASK], **given)
    white = pixels(images[MASK]) > 0
    assert np.array_equal(pixels(within.image)[white], pixels(expected)[white])
    assert np.array_equal(pixels(within.image)[~white], pixels(images[IMAGE])[~white])


def test_union_of_two_types(box, generate, images):
    union = diffusers.ControlNetUnionModel.from_pretrained(box / "store" / "controlnet" / "union", dtype=torch.float32)
    both = [images[CONTROL], images[CONTROLS[1]]]
    generated = generate("sdxl", "union:0.7:type=pose", "union:0.4:type=tile", roles=CONTROLS[:2], cfg_scale=2.0)
    expected = plain(
        "StableDiffusionXLControlNetUnionPipeline", box / "sdxl", union, control_image=both, control_mode=[0, 6],
        controlnet_conditioning_scale=[0.7, 0.4], guidance_scale=2.0,
    )  # fmt: skip
    assert same(generated.image, expected)
    changed = {"img2img.denoising_strength": 0.5}
    over = generate("sdxl", "union:0.7:type=pose", roles=(CONTROL, IMAGE), changed=changed, cfg_scale=2.0)
    expected = plain(
        "StableDiffusionXLControlNetUnionImg2ImgPipeline", box / "sdxl", union, image=images[IMAGE], strength=0.5,
        control_image=[images[CONTROL]], control_mode=[0], controlnet_conditioning_scale=0.7, guidance_scale=2.0,
    )  # fmt: skip
    assert same(over.image, expected)


def test_z_image_takes_one(box, generate, images):
    path = box / "store" / "controlnet" / "zed.safetensors"
    config = box / "zed-config"
    tiny_models.z_image_network(step=2, kind="control_layers").save_config(config)
    network = diffusers.ZImageControlNetModel.from_single_file(
        str(path), config=str(config), dtype=torch.float32, local_files_only=True
    )
    expected = plain(
        "ZImageControlNetPipeline", box / "z", network, control_image=images[CONTROL], guidance_scale=0.0,
        controlnet_conditioning_scale=0.6,
    )  # fmt: skip
    assert same(generate("z", "zed:0.6").image, expected)
    assert generate("z", "zed").effective[UNITS] == ("zed:0.75",)
    assert not same(generate("z", "zed:0.6:end=0.5").image, expected)
    with pytest.raises(ControlNetError, match="takes one ControlNet"):
        generate("z", "zed", "zed:0.4:image=1")


def test_neutral_units_change_nothing(own, generate):
    free = generate("sd15", roles=())
    assert same(generate("sd15", "one:0").image, free.image)
    assert own._networks._kept == []
    generated = generate("sd15", "one").image
    assert not same(generated, free.image)
    back = generate("sd15", roles=())
    assert same(back.image, free.image) and "controlnet.files" not in back.effective, "and back"
    assert own.loaded.info.pipeline == "StableDiffusionPipeline"


@pytest.mark.parametrize(
    "roles", [pytest.param((), marks=pytest.mark.slow), pytest.param((IMAGE,), marks=pytest.mark.slow), (IMAGE, MASK)],
    ids=["alone", "img2img", "inpaint"],
)  # fmt: skip
def test_with_a_lora_and_hires_fix(box, generate, images, roles):
    """Both passes are plain diffusers' with the ControlNet and the LoRA; outside of a mask are the source's pixels, enlarged."""
    base = diffusers.StableDiffusionPipeline.from_pretrained(box / "sd15", dtype=torch.float32)
    lora = write_lora(box / "store" / "loras" / "net.safetensors", base, 4)
    base.load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="net")
    base.set_adapters(["net"], [0.8])
    parts, network, large = base.components, sd_network(box, "one"), (128, 128)
    given = {"guidance_scale": 3.0, "num_inference_steps": 4, "controlnet_conditioning_scale": 0.8}
    sized = {role: image.resize(large, Image.Resampling.LANCZOS) for role, image in images.items()}

    def draw(seen, mask, image=None, strength=None):
        kind = "Inpaint" * (mask is not None) or "Img2Img" * (image is not None)
        pipeline = getattr(diffusers, f"StableDiffusionControlNet{kind}Pipeline")(
            **parts, controlnet=network, requires_safety_checker=False
        )
        pipeline.set_progress_bar_config(disable=True)
        over = {"image": image, "control_image": seen, "strength": strength} if kind else {"image": seen, **SIZE}
        over |= {"mask_image": mask, "height": mask.height, "width": mask.width} if kind == "Inpaint" else {}
        made = pipeline("a red house, day", generator=torch.Generator().manual_seed(7), **given, **over).images[0]
        return made if mask is None else Image.composite(made, image, mask.point(lambda level: 255 * (level > 0)))

    mask = MASK in roles
    first = draw(images[CONTROL], images[MASK] if mask else None, images[IMAGE] if IMAGE in roles else None, 0.6)
    expected = draw(
        sized[CONTROL], sized[MASK] if mask else None, first.resize(large, Image.Resampling.LANCZOS), 0.5
    )
    changed = {
        "lora.use": ("net:0.8",), "img2img.denoising_strength": 0.6, "hires.enabled": True, "hires.scale": 2.0,
        "hires.denoising_strength": 0.5,
    }  # fmt: skip
    made = generate("sd15", "one:0.8", roles=(CONTROL, *roles), changed=changed, width=128, height=128, cfg_scale=3.0)
    inside = pixels(sized[MASK]) == 255 if mask else np.ones(large, bool)
    assert np.array_equal(pixels(made.image)[inside], pixels(expected)[inside])
    outside = pixels(sized[MASK]) == 0 if mask else ~inside
    assert np.array_equal(pixels(made.image)[outside], pixels(sized[IMAGE])[outside])
    assert made.effective["lora.files"] and made.effective["controlnet.files"]


@pytest.mark.slow
def test_with_blocks_on_disk(generate):
    whole = generate("sd15", "one:0.8").image
    small = generate("sd15", "one:0.8", changed={"memory.tier": "4gb", "memory.offload": "disk"})
    assert small.effective["memory.offload"] == "disk"
    assert np.abs(pixels(small.image) - pixels(whole)).max() <= 2


@pytest.mark.slow
def test_hires_and_source_image_as_control_image(generate, images):
    changed = {"hires.enabled": True, "hires.denoising_strength": 0.5}
    assert generate("sd15", "one:preprocessor=lineart", changed=changed, width=128, height=128).image.size == (128, 128)
    changed = {"img2img.denoising_strength": 0.5}
    alone = generate("sd15", "one:preprocessor=invert", roles=(IMAGE,), changed=changed).image
    given = generate("sd15", "one", roles=(CONTROL, IMAGE), changed=changed).image
    assert same(alone, given), "the source image inverted is the control image"


@pytest.mark.parametrize("mode", [pytest.param("prompt", marks=pytest.mark.slow), "control"])
def test_control_modes(generate, monkeypatch, mode):
    """Factors as A1111 has them; with them at 1, `prompt` is balanced, and `control` alone in guided batches is not."""
    balanced = generate("sd15", "one", cfg_scale=3.0).image
    assert not same(generate("sd15", f"one:mode={mode}", cfg_scale=3.0).image, balanced)
    monkeypatch.setattr(stable_diffusion, "SOFT_FACTOR", 1.0)
    assert same(generate("sd15", f"one:mode={mode}", cfg_scale=3.0).image, balanced) == (mode == "prompt")
    assert same(generate("sd15", f"one:mode={mode}", cfg_scale=1.0).image, generate("sd15", "one", cfg_scale=1.0).image)


@pytest.mark.slow
def test_a_single_file_reads_as_its_folder(box, own, generate):
    """The names of diffusers; its hint blocks have the published channels, which the tiny folder has not."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(box / "sd15" / "unet")
    network = diffusers.ControlNetModel.from_unet(unet)
    tiny_models._speak(network)
    nets = box / "store" / "controlnet"
    network.save_pretrained(nets / "wide")
    save_file(load_file(nets / "wide" / "diffusion_pytorch_model.safetensors"), nets / "single.safetensors")
    try:
        assert same(generate("sd15", "single").image, generate("sd15", "wide").image)
    finally:
        shutil.rmtree(nets / "wide")
        (nets / "single.safetensors").unlink()


@pytest.mark.parametrize(
    ("model", "units", "said"),
    [
        ("sd15", ("nine",), "did you mean"),
        ("sd15", ("old",), "is a pickle"),
        ("sd15", ("xl",), "made for SDXL"),
        ("sdxl", ("union",), "type=pose"),
        ("sdxl", ("xl", "union:type=pose"), "different pipelines"),
        ("sdxl", ("union:type=pose", "union:type=pose"), "each type once"),
        ("sdxl", ("union:type=pose:mode=prompt",), "no control modes"),
        ("sd15", ("one:type=pose",), "only a ControlNet Union has types"),
        ("sd15", ("one", "one:mode=prompt"), "the same mode"),
    ],
)
def test_units_that_do_not_fit_are_named(box, request_of, model, units, said):
    catalog = Catalog(box / "configs", ModelPaths(box / "store"))
    with pytest.raises(ControlNetError, match=said):
        ControlNetLibrary(catalog).controlled(catalog.find(model), {UNITS: units})


def test_images_that_are_missing_or_unused(generate):
    with pytest.raises(InputCombinationError, match="control_image: ControlNet one has no image"):
        generate("sd15", "one", roles=())
    with pytest.raises(InputCombinationError, match="control_image_2: no ControlNet uses this image"):
        generate("sd15", "one", roles=CONTROLS[:2])


@pytest.mark.parametrize(
    "text",
    ["", "a:2.5", "a:x", "a:0.5:0.5", "a:size=3", "a:end=2", "a:start=0.6:end=0.5", "a:preprocessor=hed", "a:low=1.5", "a:image=5"],
)  # fmt: skip
def test_texts_of_units_are_checked(text):
    with pytest.raises(OptionError):
        read_units([text], "form")


def test_text_of_a_unit_reads_as_written():
    unit = ControlUnit("a", 0.5, "canny", 10, 20, 2.0, 0.1, 0.9, "prompt", "tile", 3)
    assert read_units([str(unit)], "form") == (unit,)
    assert str(replace(unit, **vars(ControlUnit("a")))) == "a"
