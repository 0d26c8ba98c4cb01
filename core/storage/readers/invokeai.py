"""InvokeAI: `invokeai_metadata`, and `sd-metadata` of its versions before 3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    loras = common.loras(_loras(data.get("loras")))
    used = (*USED, "loras") if loras else USED
    return common.found("InvokeAI", {**values, common.LORAS: loras}, common.without(data, *used))


def _loras(data: Any) -> Iterator[tuple[Any, Any]]:
    """Name and weight of each; before version 4 the model was called lora."""
    for one in data if isinstance(data, list) else []:
        model = (one.get("model") or one.get("lora")) if isinstance(one, dict) else None
        if isinstance(model, dict):
            yield model.get("name") or model.get("model_name"), one.get("weight", one.get("lora_weight", 1))


def _older(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """One flat object of the older form, whose prompt may be a list of weighted parts."""
    image = data.get("image") if data else None
    if not data or not isinstance(image, dict):
        return None
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        prompt = ", ".join(str(part["prompt"]) for part in prompt if isinstance(part, dict) and "prompt" in part)
    return {**common.without(data, "image"), **image, "prompt": prompt}
