"""Read our own record, which has every field exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.lora_syntax import KEY, read_uses
from core.config.options import SCHEMA
from core.config.samplers import SAMPLER, SAMPLERS
from core.errors import InputError, OptionError
from core.history.importers import common
from core.storage.infotext import well_formed
from core.storage.metadata import RECORD
from core.types import FoundParameters, with_cfg

NAMED = ("prompt", "negative_prompt", "width", "height", "num_inference_steps", "cfg_scale", "seed", "num_images")


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return the record's parameters as they are; a value that this version no longer accepts is listed."""
    data = common.parsed(texts.get(RECORD))
    if data is None or data.get("format") != "zdarkroom":
        return None
    requested = with_cfg(data["requested"])
    asked = {f"generation.{name}": requested[name] for name in NAMED}
    asked |= {"model.id": requested["model"], **requested["options"]}
    values: dict[str, Any] = {}
    unused: dict[str, str] = {}
    for key, value in asked.items():
        if value is None:
            continue
        try:
            option = SCHEMA.find(key, "Z Darkroom")
            values[option.key] = option.check(well_formed(value) if isinstance(value, str) else value, "Z Darkroom")
        except InputError:
            unused[key] = common.shown(value)
    return FoundParameters("Z Darkroom", values, unused, _facts(data, requested).facts)


def _facts(data: Mapping[str, Any], requested: Mapping[str, Any]) -> FoundParameters:
    loras = _loras(requested["options"].get(KEY, ()))
    resolved = data.get("resolved")
    resolved = resolved if isinstance(resolved, dict) else {}
    known = SAMPLERS.get(str(resolved.get(SAMPLER, "")))
    scheduler = known.name if known is not None else resolved.get("scheduler")
    raw = {
        "prompt": requested["prompt"],
        "negative_prompt": requested["negative_prompt"],
        "seed": requested["seed"],
        "steps": requested["num_inference_steps"],
        "cfg_scale": common.real(requested["cfg_scale"]),
        "sampler": requested["options"].get("sampler.name") or scheduler,
        "width": requested["width"],
        "height": requested["height"],
        "model": requested["model"],
    }
    return common.found("Z Darkroom", raw, {}, loras)


def _loras(uses: Any) -> list[tuple[str, float]]:
    try:
        return [(use.name, use.weight) for use in read_uses(uses, "Z Darkroom")]
    except OptionError:
        return []
