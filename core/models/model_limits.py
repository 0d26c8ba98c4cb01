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
from core.models.part_sources import Files, count_parameters, stored_bytes
from core.types import CFG_OFF, cfg_of


def cannot(family: Family, negative_prompt: bool) -> dict[str, Mapping[str, str]]:
    """Return the options without effect on this model, each with its reason."""
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
    """Return the bytes of a file or folder; 0 if it does not exist."""
    if path is None or not os.path.exists(path):
        return 0
    return path.stat().st_size if path.is_file() else size_of(path)


def memory_bytes(files: Files) -> int:
    """Return the bytes of all weights as they are held: in 16 bits, but what is quantised in a GGUF file as it is stored."""
    kept = stored_bytes(*files)
    return sum(kept.values()) + sum(2 * count for part, count in count_parameters(*files).items() if part not in kept)
