"""Fooocus in its own scheme: JSON, by names in the interface's English or by the older sentence-like ones."""

from __future__ import annotations

from collections.abc import Mapping

from core.storage.metadata import PARAMETERS
from core.storage.readers import common
from core.types import FoundParameters

NAMES = {
    common.PROMPT: ("prompt", "Prompt"),
    common.NEGATIVE: ("negative_prompt", "Negative Prompt"),
    common.STEPS: ("steps", "Steps"),
    common.CFG: ("guidance_scale", "Guidance Scale"),
    common.SEED: ("seed", "Seed"),
}
SIZES = ("resolution", "Resolution")
MARKS = ("base_model", "Base Model", "fooocus_v2_expansion", "Fooocus V2 Expansion")  # only Fooocus has these


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    data = common.parsed(texts.get(PARAMETERS)) or common.parsed(texts.get("Comment"))
    if data is None or not any(mark in data for mark in MARKS):
        return None
    values = {key: next((data[name] for name in names if name in data), None) for key, names in NAMES.items()}
    values[common.NEGATIVE] = values[common.NEGATIVE] or None
    size = next((data[name] for name in SIZES if name in data), None)
    width, height = common.size_of(size) if size else (data.get("width"), data.get("height"))
    used = {name for names in NAMES.values() for name in names} | {*SIZES, "width", "height"}
    values |= {common.WIDTH: width, common.HEIGHT: height}
    return common.found("Fooocus", values, common.without(data, *used))
