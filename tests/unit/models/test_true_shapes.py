"""Z-Image-Turbo at its published shapes, as sparse files: every variant is listed with its size, memory and GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.loader import PROJECT_ROOT
from core.models.catalog import Catalog
from core.models.families import FAMILIES
from core.models.families.z_image import layout, text_encoder_layout
from core.models.model_paths import ModelPaths
from tests.unit.models.headers import write_gguf, write_header

FRAME = FAMILIES["ZImagePipeline"].frame
assert FRAME is not None
TRANSFORMER = layout.expected(json.loads((FRAME / "transformer" / "config.json").read_text()))
ENCODER = text_encoder_layout.expected(json.loads((FRAME / "text_encoder" / "config.json").read_text()))
VAE = {"decoder.conv_in.weight": (512, 16, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3), "x.weight": (83_000_000,)}
MATRICES = {name for name, shape in TRANSFORMER.items() if len(shape) == 2 and name.startswith(("layers", "noise", "context"))}

VARIANTS = {  # file -> GB on the disk, GB in memory with text encoder and VAE, GPU that holds it with a fifth more
    "z_bf16.safetensors": (12.3, 20.5, None),
    "z_fp8.safetensors": (6.2, 20.5, None),
    "z_q8.gguf": (6.6, 14.8, "24gb"),
    "z_q4.gguf": (3.5, 11.7, "16gb"),
}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    root = tmp_path_factory.mktemp("ComfyUI")
    for name in ("diffusion_models", "text_encoders", "vae"):
        (root / name).mkdir()
    write_header(root / "text_encoders" / "qwen_3_4b.safetensors", {f"model.{name}": shape for name, shape in ENCODER.items()})
    write_header(root / "vae" / "ae.safetensors", VAE)
    for name in VARIANTS:
        write(root / "diffusion_models" / name)
    catalog = Catalog(PROJECT_ROOT / "configs", ModelPaths(root / "store", folders=(root,)))
    return {Path(model.path or "").name: model for model in catalog.models()}


def write(file: Path) -> None:
    if file.suffix == ".gguf":
        number = 8 if "q8" in file.stem else 2
        write_gguf(file, TRANSFORMER, lambda name: number if name in MATRICES else 0, "lumina2")
    else:
        write_header(file, TRANSFORMER, **(dict.fromkeys(MATRICES, "F8_E4M3") if "fp8" in file.stem else {}))


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_is_listed_with_its_size_and_gpu(listed, name: str) -> None:
    disk, memory, tier = VARIANTS[name]
    model = listed[name]
    assert model.problem is None and set(model.parts) == {"text_encoder", "vae"}
    assert (round(model.disk_bytes / 1e9, 1), round(model.memory_bytes / 1e9, 1), model.tier) == (disk, memory, tier)
