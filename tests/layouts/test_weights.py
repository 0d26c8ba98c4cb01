"""Every published layout of weights is read weight by weight, or refused by name, by the catalogue and the loader themselves."""

from __future__ import annotations

import re
import shutil
import struct

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from core.config.loader import PROJECT_ROOT
from core.errors import StudioError
from core.inference.pipeline_reading import check_model, read_pipeline
from core.inference.weight_reading import dequantised
from core.models.catalog import Catalog
from core.models.describe import describe
from core.models.model_paths import ModelPaths
from core.models.weight_files import BadFile, read_all
from tests.layouts import table
from tests.layouts import weights as w

PREFIXES = re.compile(
    r"^((model\.)*diffusion_model|net|ema_model|ema|transformer|base_model\.model|model|module|(pipe\.)?dit|_orig_mod|state_dict"
    r"|_fsdp_wrapped_module)\."
)
FLOAT32 = dict.fromkeys(("text_encoder", "transformer", "vae"), torch.float32)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """The narrow model, and the wide one for blocks of 256."""
    root = tmp_path_factory.mktemp("bases")
    return {False: w.build_base(root / "narrow"), True: w.build_base(root / "wide", w.WIDE)}


def catalog_with(root, base, path, part=None):
    """A catalogue of the base and of one entry for what was written."""
    shutil.copytree(PROJECT_ROOT / "configs", root / "configs", dirs_exist_ok=True)
    entries = {"base": {"id": "base", "path": str(base)}, "it": {"id": "it", "path": str(path)}}
    if part is not None:
        entries["it"] = {"id": "it", "path": str(root / "own.safetensors"), "base": "base", "parts": {part: str(path)}}
        w.single("own.safetensors", w.comfy)(base, root)
    for file in (root / "configs" / "models").glob("*.yaml"):
        file.unlink()
    for name, entry in entries.items():
        (root / "configs" / "models" / f"{name}.yaml").write_text(yaml.safe_dump(entry, allow_unicode=True))
    return Catalog(root / "configs", ModelPaths(root / "store"))


def read(catalog):
    info = catalog.find("it")
    if info.problem is not None:
        raise info.problem
    check_model(info)
    notes = []
    return read_pipeline(info, FLOAT32, notes), notes


def truth_of(base, path, part):
    """What the written file is worth, by the names of the part's class."""
    own = w.weights_of(base, part)
    if path.is_dir() and (file := next((path / part).glob("*.safetensors"), None)) and "scaled_fp8" in load_file(file):
        return {name: worth(load_file(file), name) for name in own}
    if path.is_dir() or path.name == "aio.safetensors" or part == "vae":
        return own
    stored = load_file(truth if (truth := path.parent / "truth.safetensors").exists() else path)
    if part == "text_encoder" and "model.norm.weight" in stored:
        return {name: multiplied(stored, f"model.{name}", stored[f"model.{name}"].float()) for name in own}
    if part == "text_encoder":
        named = w.llama_cpp({name: name for name in own}) if path.suffix == ".gguf" else {}
        back = {new: old for old, new in named.items()} if named else {}
        back = {value: key for key, value in named.items()}
        return {name: stored[back[name]] if named else own[name] for name in own}
    return {name: worth(stored, name) for name in own}


def worth(stored, name):
    """A weight of the transformer out of any of the layouts, times its scale."""
    plain = {PREFIXES.sub("", key): value for key, value in stored.items()}
    wanted = name
    index = next((k for k, part in enumerate("qkv") if f".attention.to_{part}.weight" in name), None)
    if name not in plain:
        for new, old in w._COMFY:
            wanted = wanted.replace(new, old)
        if index is not None:
            wanted = name.replace(f"to_{'qkv'[index]}", "qkv")
    value = multiplied(plain, wanted, plain[wanted].float())
    return value.chunk(3)[index] if index is not None and wanted != name else value


def multiplied(stored, name, value):
    """A weight times the scale that the file has for it."""
    stem = name.removesuffix(".weight")
    for ending in (".scale_weight", ".weight_scale", ".weight_scale_inv", ".weight.scale_weight"):
        if (scale := stored.get(stem + ending)) is not None:
            if scale.dim() == 2 and scale.shape[1] > 1:
                scale = scale.repeat_interleave(32, 0).repeat_interleave(32, 1)
            value = value * scale.float()
    return value


def assert_equal(made, truth, tolerance=0.0):
    named = {name.removeprefix("model."): tensor for name, tensor in made.state_dict().items()}  # of a model with its head
    found = {name: dequantised(tensor, torch.float32) for name, tensor in named.items()}
    assert set(truth) <= set(found)
    for name, value in truth.items():
        off = (found[name].float().reshape(-1) - value.float().reshape(-1)).abs().max()
        assert off <= tolerance * value.float().abs().max(), name


QUICK = {  # of the layouts that are read, one of each kind; the others are slow by their number
    "fp8 scaled, scale after the weight's name", "all-in-one, llm and first_stage_model", "text encoder, fp8 scaled, comfy_quant",
    "bf16, fused qkv", "diffusers names", "fp8 scaled, scale_weight [1]", "fp8 scaled, comfy_quant", "all-in-one",
    "fp8 scaled by blocks, weight_scale_inv", "GGUF Q8_0, BF16 pad tokens", "GGUF, pad tokens [D]", "GGUF Q4_K",
    "text encoder, prefix model.", "text encoder, GGUF Q8_0", "VAE, original names", "diffusers folder",
    "in shards with an index", "in shards, the index lost", "ComfyUI's file in the folder", "parts of different variants",
}  # fmt: skip


def _marked(layout):
    return pytest.param(layout, id=layout.name, marks=() if layout.refused or layout.name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("layout", [_marked(one) for one in (*table.FILES, *table.ENCODERS, *table.FOLDERS)])
def test_layout(layout, bases, tmp_path):
    base, out = bases[layout.wide], tmp_path / "out"
    out.mkdir()
    path = layout.write(base, out)
    catalog = catalog_with(tmp_path, base, path, layout.kind if layout.kind != "transformer" else None)
    if layout.refused:
        with pytest.raises(StudioError) as caught:
            read(catalog)
        assert layout.refused in caught.value.message("en")
        assert describe(path, catalog).use.startswith("no: ")
        return
    pipeline, notes = read(catalog)
    assert notes == []
    # diffusers decodes the blocks of GGUF files in float16, gguf in float32.
    tolerance = 0.001 if (path.parent / "truth.safetensors").exists() else 0.0
    assert_equal(getattr(pipeline, layout.kind), truth_of(base, path, layout.kind), tolerance)
    for part in w.PARTS:
        if part != layout.kind:
            assert_equal(getattr(pipeline, part), w.weights_of(base, part))
    assert describe(path, catalog).use.startswith(("yes", "needs"))


def test_page_is_made_from_the_table():
    for language, file in table.PAGES.items():
        assert file.read_text(encoding="utf-8") == table.page(language), "run python -m tests.layouts.table"


# -- caches ------------------------------------------------------------------------------------------------------------

OWNER, NAME = "Tongyi-MAI", "Z-Image-Turbo"
CACHES = {
    "hf, whole": ("hf", f"models--{OWNER}--{NAME}/snapshots/{'5' * 40}", "refs/main"),
    "hf, without refs": ("hf", f"models--{OWNER}--{NAME}/snapshots/{'5' * 40}", None),
    "modelscope < 1.38": ("ms", f"models/{OWNER}/{NAME}", None),
    "modelscope, older": ("ms", f"{OWNER}/{NAME}", None),
    "modelscope >= 1.38": ("ms", f"models/{OWNER}--{NAME}/snapshots/master", None),
    "modelscope >= 1.38, hub": ("ms", f"hub/models/{OWNER}--{NAME}/snapshots/master", None),
}


@pytest.fixture
def caches(tmp_path, monkeypatch):
    monkeypatch.setattr("core.models.model_paths.hugging_face_cache", lambda: tmp_path / "hf")
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    return tmp_path


@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("half", [False, True], ids=["alone", "beside the pinned half"])
def test_cache(name, half, bases, caches):
    root, place, ref = CACHES[name]
    shutil.copytree(bases[False], caches / root / place)
    repository = caches / "hf" / f"models--{OWNER}--{NAME}"
    if ref:
        (repository / "refs").mkdir(parents=True)
        (repository / ref).write_text("5" * 40)
    catalog = Catalog(PROJECT_ROOT / "configs", ModelPaths(caches / "store"))
    if half:
        pinned = repository / "snapshots" / catalog.find("z-image-turbo").revisions["huggingface"]
        pinned.mkdir(parents=True, exist_ok=True)
        shutil.copy(bases[False] / "model_index.json", pinned)
    info = catalog.find("z-image-turbo")
    assert (info.problem, info.path) == (None, str(caches / root / place))


def test_folder_of_another_program_is_found_when_named(bases, tmp_path):
    models = tmp_path / "ComfyUI" / "models"
    for name in ("diffusion_models", "vae", "text_encoders"):
        (models / name).mkdir(parents=True)
    w.single("z_image_turbo_bf16.safetensors", w.comfy)(bases[False], models / "diffusion_models")
    shutil.copytree(bases[False], models / "diffusers" / "base")
    named = ModelPaths(tmp_path / "store", folders=(tmp_path / "ComfyUI",))
    infos = {info.id: info for info in Catalog(PROJECT_ROOT / "configs", named).models()}
    assert infos["z_image_turbo_bf16"].problem is None
    assert infos["z_image_turbo_bf16"].base == str(models / "diffusers" / "base")
    assert "z_image_turbo_bf16" not in {
        info.id for info in Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path / "store")).models()
    }


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(bases, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    plain = w.single("plain.safetensors", w.scaled("comfy-new"))(bases[False], out)
    w.write_gguf(out / "z.gguf", w.comfy(w.weights_of(bases[False], "transformer")), "Q8_0")
    return {"safetensors": plain.read_bytes(), "gguf": (out / "z.gguf").read_bytes()}


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
@given(data=st.data())
def test_cut_file_is_refused(kind, data, whole, tmp_path_factory):
    content = whole[kind]
    length = data.draw(st.integers(0, len(content) - 1))
    file = tmp_path_factory.getbasetemp() / f"cut.{kind}"
    file.write_bytes(content[:length])
    with pytest.raises(BadFile):
        read_all(file)


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
@given(data=st.data())
def test_flipped_bytes_of_the_header_never_crash(kind, data, whole, bases, tmp_path_factory):
    """One byte in 10,000 of the header: it is refused by a sentence, or still says what it said."""
    content = bytearray(whole[kind])
    end = 8 + struct.unpack("<Q", content[:8])[0] if kind == "safetensors" else 8192
    for place in data.draw(st.lists(st.integers(0, end - 1), min_size=1, max_size=max(1, end // 10_000))):
        content[place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.getbasetemp() / f"flipped-{kind}"
    folder.mkdir(exist_ok=True)
    file = folder / f"z.{kind}"
    file.write_bytes(content)
    catalog = Catalog(PROJECT_ROOT / "configs", ModelPaths(folder / "store"))
    found = describe(file, catalog)
    assert found.use.split(":")[0] in ("yes", "no", "needs")


def test_image_of_a_scaled_file_is_that_of_its_weights(bases, tmp_path):
    """The same transformer written plainly, with what the scaled file is worth: the pipelines give the same pixels."""
    file = w.single("scaled.safetensors", w.scaled("kj"))(bases[False], tmp_path)
    own = w.weights_of(bases[False], "transformer")
    pipeline, _ = read(catalog_with(tmp_path, bases[False], file))
    image = generate(pipeline)
    pipeline.transformer.load_state_dict(truth_of(bases[False], file, "transformer"))
    assert np.array_equal(image, generate(pipeline))
    pipeline.transformer.load_state_dict({name: value.float() for name, value in own.items()})
    assert np.abs(image - generate(pipeline)).mean() < 0.1


def generate(pipeline):
    given = {"height": 64, "width": 64, "num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "np"}
    return pipeline("a house", generator=torch.Generator().manual_seed(1), **given).images[0]
