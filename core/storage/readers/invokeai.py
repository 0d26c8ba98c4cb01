"""InvokeAI: `invokeai_metadata`, and `sd-metadata` of its versions before 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.storage.readers import common
from core.types import FoundParameters

USED = ("positive_prompt", "negative_prompt", "prompt", "steps", "cfg_scale", "seed", "width", "height")


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    data = common.parsed(texts.get("invokeai_metadata"))
    if data is None:
        data = _older(common.parsed(texts.get("sd-metadata")))
    if data is None:
        return None
    values = {
        common.PROMPT: data.get("positive_prompt", data.get("prompt")),
        common.NEGATIVE: data.get("negative_prompt") or None,
        common.STEPS: data.get("steps"),
        common.CFG: data.get("cfg_scale"),
        common.SEED: data.get("seed"),
        common.WIDTH: data.get("width"),
        common.HEIGHT: data.get("height"),
    }
    return common.found("InvokeAI", values, common.without(data, *USED))


def _older(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """One flat object of the older form, whose prompt may be a list of weighted parts."""
    image = data.get("image") if data else None
    if not data or not isinstance(image, dict):
        return None
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        prompt = ", ".join(str(part["prompt"]) for part in prompt if isinstance(part, dict) and "prompt" in part)
    return {**common.without(data, "image"), **image, "prompt": prompt}
