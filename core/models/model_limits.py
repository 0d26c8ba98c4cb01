"""What of a model's description follows from its family and its files: sizes, defaults, memory, what it cannot."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from core.config.cfg import CFG, GUIDANCE
from core.config.options import SCHEMA
from core.i18n import localize
from core.models.families.base import Family
from core.models.model_paths import size_of
from core.models.single_file import Files, count_parameters, weights_by_part
from core.models.weight_files import GGUF
from core.types import CFG_OFF, cfg_of


def cannot(family: Family, negative_prompt: bool) -> dict[str, Mapping[str, str]]:
    """The options that do nothing, each with its reason."""
    found = {key: reason for key in SCHEMA.options for start, reason in family.cannot.items() if key.startswith(start)}
    if not negative_prompt:
        found["generation.negative_prompt"] = _NO_NEGATIVE
    return found


_NO_NEGATIVE = localize("models.model_limits.no_negative")


def folder_defaults(family: Family, folder: Path | None) -> dict[str, float]:
    """Return the family's steps and CFG scale, at the size that the model in `folder` was made for."""
    side = family.native_side(folder)
    return {"width": side, "height": side, "num_inference_steps": family.steps, "cfg_scale": family.cfg_scale}


def default_cfg(defaults: Mapping[str, float], family: Family) -> float:
    """Return the default CFG scale; an entry may give it as the `guidance_scale` of its family's pipeline instead."""
    if "guidance_scale" in defaults:
        return cfg_of(defaults["guidance_scale"], family.cfg_offset)
    return max(CFG_OFF, float(defaults["cfg_scale"]))


def cfg_bounds(limits: Mapping[str, tuple[float, float]], family: Family) -> dict[str, tuple[float, float]]:
    """Return an entry's limits by option key, those of `guidance_scale` as limits of the CFG scale."""
    found = dict(limits)
    if GUIDANCE in found:
        low, high = found.pop(GUIDANCE)
        found[CFG] = (cfg_of(low, family.cfg_offset), cfg_of(high, family.cfg_offset))
    return found


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
