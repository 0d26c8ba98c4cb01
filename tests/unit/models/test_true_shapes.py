"""Z-Image-Turbo at its published shapes, as sparse files: every variant is listed with its size, memory and GPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.config.loader import PROJECT_ROOT
from core.models import weight_files
from core.models.catalog import Catalog
from core.models.families import FAMILIES
from core.models.families.z_image import layout
from core.models.model_paths import ModelPaths
from core.types import ModelInfo
from tests.unit.models.headers import write_gguf, write_header

FRAME = FAMILIES["ZImagePipeline"].frame
assert FRAME is not None
TRANSFORMER = layout.expected(json.loads((FRAME / "transformer" / "config.json").read_text()))
ENCODER = layout.expected_text_encoder(json.loads((FRAME / "text_encoder" / "config.json").read_text()))
VAE = {"decoder.conv_in.weight": (512, 16, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3), "x.weight": (83_000_000,)}
MATRICES = {name for name, shape in TRANSFORMER.items() if len(shape) == 2 and name.startswith(("layers", "noise", "context"))}

VARIANTS = {  # file -> GB on the disk, GB in memory with text encoder and VAE, GPU that holds it with a fifth more
    "z_bf16.safetensors": (12.3, 20.5, None),
    "z_fp8.safetensors": (6.2, 20.5, None),
    "z_fp8_scaled.safetensors": (6.2, 20.5, None),
    "z_q8.gguf": (6.6, 14.8, "24gb"),
    "z_q4.gguf": (3.5, 11.7, "16gb"),
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("ComfyUI")
    for name in ("diffusion_models", "text_encoders", "vae"):
        (root / name).mkdir()
    write_header(root / "text_encoders" / "qwen_3_4b.safetensors", {f"model.{name}": shape for name, shape in ENCODER.items()})
    write_header(root / "vae" / "ae.safetensors", VAE)
    for name in VARIANTS:
        write(root / "diffusion_models" / name)
    catalog = Catalog(PROJECT_ROOT / "configs", ModelPaths(root / "store", folders=(root,)))
    return catalog


@pytest.fixture(scope="module")
def listed(catalog: Catalog) -> dict[str, ModelInfo]:
    return {Path(model.path or "").name: model for model in catalog.models()}


def write(file: Path) -> None:
    if file.suffix == ".gguf":
        number = 8 if "q8" in file.stem else 2
        write_gguf(file, TRANSFORMER, lambda name: number if name in MATRICES else 0, "lumina2")
    elif "scaled" in file.stem:
        scales = {f"{name.removesuffix('.weight')}.scale_weight": (1,) for name in MATRICES}
        write_header(file, {**TRANSFORMER, **scales}, **dict.fromkeys(MATRICES, "F8_E4M3"), scale_weight="F32")
    else:
        write_header(file, TRANSFORMER, **(dict.fromkeys(MATRICES, "F8_E4M3") if "fp8" in file.stem else {}))


def test_folder_is_listed_with_its_size(tmp_path: Path) -> None:
    """As the publisher has it: transformer in float32 and text encoder in bfloat16, three shards each."""
    folder = tmp_path / "models" / "Z-Image-Turbo"
    shutil.copytree(FRAME, folder)
    for part, stem, shapes, dtype in (
        ("transformer", "diffusion_pytorch_model", TRANSFORMER, "F32"), ("text_encoder", "model", ENCODER, "BF16"),
    ):  # fmt: skip
        names, shards = list(shapes), {}
        for k in range(3):
            file = f"{stem}-{k + 1:05d}-of-00003.safetensors"
            shards |= dict.fromkeys(names[k::3], file)
            write_header(folder / part / file, {name: shapes[name] for name in names[k::3]}, dtype)
        (folder / part / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    write_header(folder / "vae" / "diffusion_pytorch_model.safetensors", VAE)
    paths = ModelPaths(tmp_path / "store", folders=(tmp_path / "models",))
    (model,) = (one for one in Catalog(PROJECT_ROOT / "configs", paths).models() if one.path == str(folder))
    assert (model.problem, round(model.disk_bytes / 1e9, 1), round(model.memory_bytes / 1e9, 1)) == (None, 32.8, 20.5)


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_is_listed_with_its_size_and_gpu(listed, name: str) -> None:
    disk, memory, tier = VARIANTS[name]
    model = listed[name]
    assert model.problem is None and set(model.parts) == {"text_encoder", "vae"}
    assert (round(model.disk_bytes / 1e9, 1), round(model.memory_bytes / 1e9, 1), model.tier) == (disk, memory, tier)


PROGRAMS = {  # whose folder -> where transformer, text encoder and VAE lie in it
    "ComfyUI": ("models/diffusion_models", "models/text_encoders", "models/vae"),
    "ComfyUI, older": ("models/unet", "models/clip", "models/vae"),
    "Forge": ("models/Stable-diffusion", "models/text_encoder", "models/VAE"),
    "SwarmUI": ("Models/diffusion_models/ZImage", "Models/clip", "Models/VAE/Flux"),
    "StabilityMatrix": ("Models/DiffusionModels", "Models/TextEncoders", "Models/VAE"),
    "SD.Next": ("models/UNET", "models/Text-encoder", "models/VAE"),
    "InvokeAI": ("models/1b0e2c44-41aa", "models/9f3d6a10-77c2", "models/c2a7e8d9-0b1f"),
    "InvokeAI, older": ("models/z-image/main/turbo", "models/any/qwen3_encoder/q", "models/flux/vae/ae"),
    "stable-diffusion.cpp": (".", ".", "."),
    "Comfy-Org's repository in a cache": tuple(
        f"models--Comfy-Org--z_image_turbo/snapshots/3f2e/split_files/{name}"
        for name in ("diffusion_models", "text_encoders", "vae")
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_folders_of_programs_give_whole_models(name: str, tmp_path: Path) -> None:
    main, encoder, vae = (tmp_path / "root" / place for place in PROGRAMS[name])
    for folder in (main, encoder, vae):
        folder.mkdir(parents=True, exist_ok=True)
    write(main / "z_bf16.safetensors")
    write_header(encoder / "qwen_3_4b.safetensors", {f"model.{key}": shape for key, shape in ENCODER.items()})
    write_header(vae / "ae.safetensors", VAE)
    paths = ModelPaths(tmp_path / "store", folders=(tmp_path / "root",))
    (model,) = (one for one in Catalog(PROJECT_ROOT / "configs", paths).models() if one.path == str(main / "z_bf16.safetensors"))
    assert model.problem is None and set(model.parts) == {"text_encoder", "vae"}


def test_listing_reads_headers_alone_and_each_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 50 GB of these files: no byte of a weight, and at the second time not even a header."""
    root, opened = catalog.places.folders[0], list[Path]()
    of_safetensors, of_gguf = weight_files._safetensors, weight_files._gguf

    def counted(read):
        def reading(path: Path, size: int):
            opened.extend([path] if root in path.parents else [])
            return read(path, size)

        return reading

    monkeypatch.setattr(weight_files, "_safetensors", counted(of_safetensors))
    monkeypatch.setattr(weight_files, "_gguf", counted(of_gguf))
    weight_files._read.cache_clear()
    files = [path for path in root.rglob("*") if path.is_file()]
    first = bytes_read(catalog)
    assert sorted(opened) == sorted(files) and len(files) == 7
    assert first < 20_000_000 < sum(file.stat().st_size for file in files) / 1000
    opened.clear()
    assert bytes_read(catalog) <= first and opened == []


def bytes_read(catalog: Catalog) -> int:
    """Return how many bytes this process reads while the catalogue is listed; 0 where the system does not count them."""
    counters = Path("/proc/self/io")

    def count() -> int:
        return int(counters.read_text().split()[1]) if counters.is_file() else 0

    before = count()
    catalog.models()
    return count() - before
