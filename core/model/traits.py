"""What of a model's description follows from its family and its files: sizes, defaults, memory, what it cannot.

What this module does not know: torch, the catalogue's entries.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.config.options import SCHEMA
from core.model.families import SD, Z_IMAGES, Family
from core.model.formats import GGUF
from core.model.places import size_of
from core.model.single import Files, count_parameters, weights_by_part

PATCH = 16  # pixels of a token's side in Z-Image: 8 of the VAE times a patch of 2
POSITIONS_LIMIT = 512  # tokens of a side in the published Z-Image; the fallback when a folder can't be read
U_NET_MAX_SIDE = 2048  # px; a U-Net has no end of positions, but repeats itself long before
SIDES = {SD: 512}  # px of the native square, where a folder does not say otherwise


def cannot(family: Family, negative_prompt: bool) -> dict[str, Mapping[str, str]]:
    """The options that do nothing, each with its reason."""
    found = {key: reason for key in SCHEMA.options for start, reason in family.cannot.items() if key.startswith(start)}
    if not negative_prompt:
        found["generation.negative_prompt"] = _NO_NEGATIVE
    return found


_NO_NEGATIVE = {"en": "this model does not use a negative prompt", "zh": "此模型不使用反向提示词"}


def max_side(family: Family, folder: Path | None) -> int:
    """Longest side in pixels. Z-Image: beyond it the table of rotary positions ends (axes_lens, in tokens; text axis first)."""
    if family.pipeline not in Z_IMAGES:
        return U_NET_MAX_SIDE
    config = read_config(folder / "transformer" / "config.json") if folder else {}
    lengths: Sequence[int] = config.get("axes_lens", [0, POSITIONS_LIMIT, POSITIONS_LIMIT])
    return min(lengths[1:]) * PATCH


def width(family: Family, folder: Path | None) -> int | None:
    """Of the transformer's tokens, or of the texts that the U-Net reads; the family's own for a model that is not here."""
    part, key = ("transformer", "dim") if family.pipeline in Z_IMAGES else ("unet", "cross_attention_dim")
    found = read_config(folder / part / "config.json").get(key, family.width) if folder else family.width
    return found if isinstance(found, int) else None


def folder_defaults(family: Family, folder: Path | None) -> dict[str, float]:
    """Steps and guidance of the family, at the size that the VAE or the U-Net was made for."""
    config: Mapping[str, Any] = {}
    if family.pipeline in Z_IMAGES:
        config = read_config(folder / "vae" / "config.json") if folder else {}
        side = config.get("sample_size", 1024)
    else:
        config = read_config(folder / "unet" / "config.json") if folder else {}
        side = (
            8 * config["sample_size"]
            if isinstance(config.get("sample_size"), int)
            else SIDES.get(family.pipeline, 1024)
        )
    return {"width": side, "height": side, "num_inference_steps": family.steps, "guidance_scale": family.guidance}


def read_config(file: Path) -> dict[str, Any]:
    """A file of JSON, or {} when there is none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def disk_bytes(path: Path | None) -> int:
    """Of a file or a whole folder; 0 for what is not here."""
    if path is None or not os.path.exists(path):
        return 0
    return path.stat().st_size if path.is_file() else size_of(path)


def memory_bytes(files: Files) -> int:
    """Of all weights as they are loaded: in 16 bits, but a GGUF file as it is stored."""
    if files[2] is not None:  # a checkpoint may have what is not read, in other formats
        return 2 * sum(count_parameters(*files).values())
    total = 0
    for _, file in weights_by_part(*files):
        size = file.stat().st_size
        total += size if file.suffix == GGUF else size // (2 if _is_float32(file) else 1)
    return total


def _is_float32(file: Path) -> bool:
    """By the first tensor: a file's weights are stored in one format."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        head = opened.read(min(length, 65_536))
    return b'"F32"' in head
