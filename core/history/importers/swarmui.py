"""Read SwarmUI: JSON with `sui_image_params` where others have A1111's text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.lora_syntax import read_uses, split_prompt
from core.errors import OptionError
from core.history.importers import common
from core.storage.embedded_texts import COMMENT, PARAMETERS
from core.types import FoundParameters

USED = ("prompt", "negativeprompt", "steps", "cfgscale", "seed", "width", "height")


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return what `sui_image_params` says; None when no text of the file has it."""
    for name in (PARAMETERS, COMMENT, "prompt", "UserComment"):
        data = common.parsed(texts.get(name))
        if data and isinstance(data.get("parameters"), str) and "sui_image_params" not in data:
            data = common.parsed(data["parameters"])
        made = data.get("sui_image_params") if data else None
        if data and isinstance(made, dict):
            return _found(data, made)
    return None


def _found(data: Mapping[str, Any], made: Mapping[str, Any]) -> FoundParameters:
    loras = _loras(made)
    prompt = made.get("prompt")
    if isinstance(prompt, str) and not loras:
        prompt, loras = _tags(prompt)
    raw = {
        "prompt": prompt,
        "negative_prompt": made.get("negativeprompt"),
        "steps": made.get("steps"),
        "cfg_scale": made.get("cfgscale"),
        "seed": made.get("seed"),
        "sampler": common.first_of(made, "sampler", "comfyuisampler"),
        "model": made.get("model"),
        "width": made.get("width"),
        "height": made.get("height"),
    }
    rest = {**common.without(made, *USED), **common.without(data, "sui_image_params")}
    return common.found("SwarmUI", raw, rest, loras, lora_names=("loras", "loraweights"))


def _loras(made: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return names with weights: two lists beside each other, or texts with commas in older versions."""
    names, weights = (_as_list(made.get(key)) for key in ("loras", "loraweights"))
    return [(name, weights[k] if k < len(weights) else 1.0) for k, name in enumerate(names)]


def _as_list(value: Any) -> list[Any]:
    return (
        value
        if isinstance(value, list)
        else [part.strip() for part in value.split(",")]
        if isinstance(value, str)
        else []
    )


def _tags(prompt: str) -> tuple[str, list[tuple[Any, Any]]]:
    plain, tags = split_prompt(prompt)
    try:
        return (plain, [(use.name, use.weight) for use in read_uses(tags, "SwarmUI")]) if tags else (prompt, [])
    except OptionError:
        return prompt, []
