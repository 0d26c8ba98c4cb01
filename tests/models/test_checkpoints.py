"""A whole SD 1.5 or SDXL in one file, as A1111 saves it: known by its tensors, read offline, and drawn as its folder is."""

from __future__ import annotations

import json
import shutil
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from core.config.loader import PROJECT_ROOT, load_settings
from core.errors import ModelFileError
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.lora_library import LoraLibrary
from core.models.model_paths import ModelPaths
from core.models.part_sources import count_parameters, files_of
from core.models.single_file import SHIPPED_FRAMES
from core.types import CONTROL, ResumeState
from tests.models import originals, tiny_models
from tests.models.loras import write_lora
from tests.models.test_img2img import hole, scene
from tests.pipelines import SD, SDXL

SECOND = 48  # of the toys' two text encoders each has a width of its own, by which diffusers tells them apart
SIZE = {"width": 128, "height": 96}
ON = {"hires.enabled": True, "hires.scale": 2.0, "hires.denoising_strength": 0.5}
LORA = {"lora.use": ("ink:0.9",)}
WAYS = {  # what is changed, and which images are given
    "text": ({}, {}),
    "image": ({"img2img.denoising_strength": 0.6}, {"image": scene()}),
    "mask": ({"img2img.denoising_strength": 0.8}, {"image": scene(), "mask_image": hole()}),
    "hires": (ON, {}),
    "lora": (LORA, {}),
    "lora, image": ({**LORA, "img2img.denoising_strength": 0.6}, {"image": scene()}),
    "lora, mask": ({**LORA, "img2img.denoising_strength": 0.8}, {"image": scene(), "mask_image": hole()}),
    "lora, hires": ({**LORA, **ON}, {}),
}


def build_sd(folder):
    return tiny_models.stable_diffusion(folder)


def build_sdxl(folder):
    return tiny_models.stable_diffusion_xl(folder, second=SECOND)


def catalog_of(root, **entries):
    """A catalogue of these alone: id -> what its file says."""
    shutil.copytree(PROJECT_ROOT / "configs", root / "configs", dirs_exist_ok=True)
    for name, entry in entries.items():
        told = {"id": name, **entry}
        (root / "configs" / "models" / f"{name}.yaml").write_text(yaml.safe_dump(told))
    return Catalog(root / "configs", ModelPaths(root / "store"))


@pytest.fixture(scope="module", params=[build_sd, build_sdxl], ids=["sd", "sdxl"])
def pair(request, tmp_path_factory):
    """The same model as `folder` and as `file`, and for SDXL each with a ControlNet."""
    root = tmp_path_factory.mktemp("pair")
    folder = request.param(root / "folder")
    file = originals.one_file(folder, root / "file.safetensors")
    entries = {"folder": {"path": str(folder)}, "file": {"path": str(file)}}
    if request.param is build_sdxl:
        network = str(tiny_models.sdxl_network(root / "network", second=SECOND))
        entries |= {f"{name}-control": {"path": network, "base": name} for name in ("folder", "file")}
    catalog = catalog_of(root, **entries)
    own = Generator(catalog, loras=LoraLibrary(root / "loras"))
    return SimpleNamespace(root=root, folder=folder, file=file, catalog=catalog, own=own, xl="file-control" in entries)


def generated(pair, request, **given):
    return np.asarray(pair.own.generate(request, attempt=ResumeState(inputs=given)).images[0].image)


def near(one, other, by=1):
    """Equal, but for single values of one step of 255.

    Where in memory weights lie decides the last bit of a sum, and two files have them in two places: 2e-7 in the texts of SDXL.
    """
    return np.abs(one.astype(int) - other).max() <= by and (one != other).mean() < 0.002 * by


# -- what it draws -----------------------------------------------------------------------------------------------------


@pytest.mark.by_default("sdxl-some")
@pytest.mark.parametrize("ways", [("text", "lora", "lora, mask"), WAYS], ids=["some", "all"])
def test_every_way_of_drawing_is_the_folders_own(pair, request_of, ways):
    """With the same LoRA. Bit for bit where the texts are read alike: see `near`."""
    found = {}
    for model in ("folder", "file"):
        request = request_of(model=model, cfg_scale=4.0, negative_prompt="grey", **SIZE)
        generated(pair, request)
        parts = ("unet", "text_encoder", "text_encoder_2")
        write_lora(pair.root / "loras" / "ink.safetensors", pair.own.loaded.pipeline, 3, parts=parts)
        for way in ways:
            changed, given = WAYS[way]
            request = request_of(
                model=model, cfg_scale=4.0, negative_prompt="grey", changed=changed, num_inference_steps=3, **SIZE
            )
            found[model, way] = generated(pair, request, **given)
    for way in ways:
        assert near(found["folder", way], found["file", way]), way
    for plain, with_lora in (
        ("text", "lora"),
        ("image", "lora, image"),
        ("mask", "lora, mask"),
        ("hires", "lora, hires"),
    ):
        if plain in ways:
            assert not np.array_equal(found["file", plain], found["file", with_lora]), with_lora
    assert len({image.tobytes() for (model, _), image in found.items() if model == "file"}) == len(ways)


@pytest.mark.by_default("sd-0.0", "sdxl-4.0")
@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_pixels_are_those_of_plain_diffusers_over_the_same_file(pair, request_of, guidance):
    request = request_of(model="file", cfg_scale=guidance + 1, negative_prompt="grey", seed=5, **SIZE)
    kind = StableDiffusionXLPipeline if pair.xl else StableDiffusionPipeline
    plain = kind.from_single_file(str(pair.file), config=str(pair.folder), local_files_only=True, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    theirs = plain(
        request.prompt, negative_prompt="grey", num_inference_steps=4, guidance_scale=guidance + 1,
        generator=torch.Generator().manual_seed(5), **SIZE,
    ).images[0]  # fmt: skip
    assert np.array_equal(generated(pair, request), np.asarray(theirs))


@pytest.mark.slow
def test_with_a_control_net_it_is_the_folders_own(pair, request_of):
    if not pair.xl:
        pytest.skip("of SDXL alone")
    generated(pair, request_of(model="file", **SIZE))
    write_lora(pair.root / "loras" / "ink.safetensors", pair.own.loaded.pipeline, 3, parts=("unet", "text_encoder_2"))
    found = {}
    for model in ("folder-control", "file-control"):
        for name, changed in (("plain", {}), ("lora", LORA), ("light", {"controlnet.scale": 0.3})):
            found[model, name] = generated(pair, request_of(model=model, changed=changed, **SIZE), **{CONTROL: scene()})
    for name in ("plain", "lora", "light"):
        assert near(found["folder-control", name], found["file-control", name])
    assert len({image.tobytes() for (model, _), image in found.items() if model == "file-control"}) == 3
    info = pair.catalog.find("file-control")
    assert (info.path, info.base) == (str(pair.root / "network"), str(pair.file))


@pytest.mark.slow
def test_each_part_has_the_precision_that_was_asked_for(pair, request_of):
    changed = {"model.dtype": "bfloat16", "vae.dtype": "float32"}
    folder, file = (generated(pair, request_of(model=name, changed=changed, **SIZE)) for name in ("folder", "file"))
    assert near(folder, file, by=12)
    parts = pair.own.loaded.pipeline.components
    assert {str(parts[part].dtype) for part in ("unet", "text_encoder")} == {"torch.bfloat16"}
    assert parts["vae"].dtype is torch.float32


@pytest.mark.slow
def test_blocks_on_disk_draw_the_same_image(pair, request_of):
    whole = generated(pair, request_of(model="file", **SIZE))
    changed = {"memory.tier": "4gb", "memory.offload": "disk"}
    assert np.abs(generated(pair, request_of(model="file", changed=changed, **SIZE)).astype(int) - whole).max() <= 2


# -- what the catalogue says of it -------------------------------------------------------------------------------------


@pytest.mark.by_default("sdxl")
def test_it_is_described_as_its_folder(pair):
    file, folder = pair.catalog.find("file"), pair.catalog.find("folder")
    same = ("pipeline", "default_width", "default_steps", "size_multiple", "max_side", "width", "inputs", "cannot")
    assert all(getattr(file, name) == getattr(folder, name) for name in same)
    assert file.disk_bytes == pair.file.stat().st_size
    parts = pair.own.load("file", load_settings().request_options(), lambda progress: None).pipeline.components
    counted = count_parameters(*files_of(file))
    assert counted == {name: sum(weight.numel() for weight in parts[name].parameters()) for name in counted}
    assert file.memory_bytes == 2 * sum(counted.values())


def test_a_file_is_added_by_its_path(pair, tmp_path):
    catalog = catalog_of(tmp_path, folder={"path": str(pair.folder)})
    added = catalog.add(str(pair.file), "mine")
    assert (added.problem, added.path, added.frame) == (None, str(pair.file), str(pair.folder))
    assert catalog.find(str(pair.file)).problem is None
    assert catalog.forget("mine") and pair.file.is_file()


def test_its_name_does_not_matter_and_its_content_does(pair, tmp_path):
    other = tmp_path / "z-image-turbo.safetensors"
    shutil.copy(pair.file, other)
    assert catalog_of(tmp_path, folder={"path": str(pair.folder)}).find(str(other)).pipeline in (SD, SDXL)
    pickled = tmp_path / "sdxl.safetensors"
    pickled.write_bytes(b"\x80\x02}q\x00.")
    assert "pickle" in catalog_of(tmp_path).find(str(pickled)).problem.message("en")


def test_a_cut_file_is_named_before_anything_is_loaded(pair, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(pair.file.read_bytes()[:-1])
    catalog = catalog_of(tmp_path, folder={"path": str(pair.folder)})
    assert "cut.safetensors: the file is shorter than its header says" in catalog.find(str(cut)).problem.message("en")
    with pytest.raises(ModelFileError):
        catalog.add(str(cut))


def test_another_file_is_another_fingerprint(pair, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({**load_file(pair.file), "note": torch.zeros(1)}, other)
    catalog = catalog_of(tmp_path, folder={"path": str(pair.folder)}, file={"path": str(pair.file)})
    one, two, whole = (catalog.conditions(name)["model.fingerprint"] for name in ("file", str(other), "folder"))
    assert len({one, two, whole}) == 3
    assert one == pair.catalog.conditions("file")["model.fingerprint"]


# -- what it lacks -----------------------------------------------------------------------------------------------------


def test_without_a_folder_of_its_shape_it_says_what_is_missing(pair, tmp_path):
    said = catalog_of(tmp_path).find(str(pair.file)).problem
    assert "a diffusers folder of the same shape, and none is on this machine" in said.message("en")
    assert "`models add`" in said.message("zh")


@pytest.mark.by_default("sdxl")
def test_what_the_file_lacks_comes_from_the_folder(pair, request_of, tmp_path):
    lean = originals.one_file(pair.folder, tmp_path / "lean.safetensors", without=("vae", "text_encoder"))
    alone = catalog_of(tmp_path / "alone").find(str(lean))
    needs = "sdxl" if pair.xl else "sd15"
    assert f"lacks text_encoder, vae, which a diffusers folder of the same shape has, such as {needs}" in (
        alone.problem.message("en").replace("vae, text_encoder", "text_encoder, vae")
    )
    catalog = catalog_of(tmp_path, folder={"path": str(pair.folder)}, lean={"path": str(lean), "base": "folder"})
    request = request_of(model="lean", **SIZE)
    mine = np.asarray(Generator(catalog).generate(request).images[0].image)
    assert near(mine, generated(pair, request_of(model="folder", **SIZE)))
    counted = count_parameters(*files_of(catalog.find("lean")))
    assert counted == count_parameters(*files_of(pair.catalog.find("file")))


def test_a_base_that_does_not_fit_is_told(pair, tmp_path):
    other = (build_sd if pair.xl else build_sdxl)(tmp_path / "other")
    entries = {"other": {"path": str(other)}, "file": {"path": str(pair.file), "base": "other"}}
    assert "same shape" in catalog_of(tmp_path, **entries).find("file").problem.message("en")


def test_missing_weights_are_named(pair, request_of, tmp_path):
    tensors = load_file(pair.file)
    gone = next(name for name in tensors if "middle_block.0.in_layers.2.weight" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, tmp_path / "holes.safetensors")
    entries = {"folder": {"path": str(pair.folder)}, "holes": {"path": str(tmp_path / "holes.safetensors")}}
    with pytest.raises(ModelFileError, match="1 weight of the unet is missing"):
        Generator(catalog_of(tmp_path, **entries)).generate(request_of(model="holes", **SIZE))


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"cond_stage_model.model.ln_final.bias": 4}, "Stable Diffusion 2"),
        ({"conditioner.embedders.0.model.ln_final.bias": 4}, "SDXL refiner"),
        ({"model.diffusion_model.double_blocks.0.x": 4}, "FLUX"),
        ({"model.diffusion_model.joint_blocks.0.x": 4}, "Stable Diffusion 3"),
        ({"edm_mean": 4}, "Playground 2.5"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3)}, "inpainting or editing, 9 channels"),
        ({"cond_stage_model.transformer.embeddings.x": 4}, "a text encoder with unknown tensor names"),
    ],
)
def test_other_kinds_are_refused_by_name(tmp_path, more, kind):
    tensors = {name: torch.zeros(shape) for name, shape in more.items()}
    save_file(tensors, tmp_path / "other.safetensors")
    said = catalog_of(tmp_path).find(str(tmp_path / "other.safetensors")).problem
    assert kind in said.message("en") and "SD 1.5" in said.message("zh")


# -- what its tensors say of the noise ---------------------------------------------------------------------------------


def test_a_mark_of_v_prediction_is_followed(tmp_path, request_of):
    folder = build_sdxl(tmp_path / "folder")
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    originals.one_file(folder, tmp_path / "marked.safetensors", **marks)
    entries = {"folder": {"path": str(folder)}, "marked": {"path": str(tmp_path / "marked.safetensors")}}
    own = Generator(catalog_of(tmp_path, **entries))
    plain = own.generate(request_of(model="folder", **SIZE)).images[0]
    marked = own.generate(request_of(model="marked", **SIZE)).images[0]
    assert own.loaded.pipeline.scheduler.config.prediction_type == "v_prediction"
    assert own.loaded.pipeline.scheduler.config.rescale_betas_zero_snr
    assert not np.array_equal(np.asarray(plain.image), np.asarray(marked.image))


# -- the published shapes ----------------------------------------------------------------------------------------------

PUBLISHED = {  # parameters, as their publishers count them
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sdxl": {"unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840},
}


def of_true_size(frame, file, leave_out="none of them"):
    """A file with the names and shapes of the published model: all zeros, which take no room on the disk."""
    with init_empty_weights():
        parts = {
            "unet": UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(frame / "unet")),
            "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(frame / "vae")),
            "text_encoder": CLIPTextModel(CLIPTextConfig.from_pretrained(frame / "text_encoder")),
        }
        if (frame / "text_encoder_2").is_dir():
            config = CLIPTextConfig.from_pretrained(frame / "text_encoder_2")
            parts["text_encoder_2"] = CLIPTextModelWithProjection(config)
    weights = {part: dict(model.named_parameters()) for part, model in parts.items()}
    tensors = originals.original(weights, layers=2, xl="text_encoder_2" in parts)
    header, end = {}, 0
    for name, tensor in tensors.items():
        if leave_out in name:
            continue
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [end, end + 2 * tensor.numel()]}
        end += 2 * tensor.numel()
    head = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(head)) + head)
        opened.truncate(8 + len(head) + end)
    return file


@pytest.mark.parametrize("frame", SHIPPED_FRAMES, ids=lambda frame: frame.name)
def test_of_the_published_shape_nothing_else_is_needed(tmp_path, frame):
    """On a machine that has no other model."""
    info = catalog_of(tmp_path).find(str(of_true_size(frame, tmp_path / "any.safetensors")))
    assert (info.problem, info.frame) == (None, str(frame))
    assert count_parameters(*files_of(info)) == PUBLISHED[frame.name]
    assert info.memory_bytes == 2 * sum(PUBLISHED[frame.name].values())
    assert (info.default_width, info.width) == ((512, 768) if frame.name == "sd15" else (1024, 2048))


@pytest.mark.slow
def test_a_slimmer_network_is_not_taken_for_the_published_one(tmp_path):
    """Without the last of ten transformers, as some that were distilled from SDXL."""
    file = of_true_size(SHIPPED_FRAMES[1], tmp_path / "slim.safetensors", leave_out=".transformer_blocks.9.")
    assert "SDXL is not built as the published one is" in catalog_of(tmp_path).find(str(file)).problem.message("en")


def test_the_shipped_words_are_clips_own():
    """As CLIP reads a sentence that its papers use."""
    for frame in SHIPPED_FRAMES:
        for folder in frame.glob("tokenizer*"):
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            ids = tokenizer("a photo of an astronaut riding a horse on mars", padding="max_length").input_ids
            assert ids[:12] == [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496, 49407]
            assert set(ids[12:]) == {0 if folder.name == "tokenizer_2" else 49407}
            assert len(ids) == tokenizer.model_max_length == 77
