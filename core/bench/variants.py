"""List the settings that `bench` measures beside the defaults: every other value of every option with a cost or a gain.

Options of generation are rows where they change the number of evaluations, or work beside them: samplers, variety, a long prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.config.options import SCHEMA
from core.config.samplers import SAMPLER, Prediction, usable
from core.config.schema import AUTO, Option
from core.inference import variety

GROUPS = ("performance", "compile", "attention", "vae", "precision", "memory", "preview")
PROMPT = "generation.prompt"  # a row may change it, too
LONG_PROMPT = "雪地，黄色的灯塔，" * 60  # some 400 tokens
NUMBERS: Mapping[str, float] = {variety.STRENGTH: 0.3, variety.EMBEDS_NOISE: 0.3, variety.SHORT_STEPS: 0.25}
NOT_ALONE = (  # these act only beside another option, or on nothing that can be measured here
    "compile.mode",
    "compile.fullgraph",
    "precision.auto_retry",
    "memory.tier",
)
TILED = {"vae.enable_tiling": True}
BESIDE: Mapping[str, Mapping[str, Any]] = {"vae.tiling_mode=exact": TILED}  # what else such a line switches on


def variants(only: Sequence[str] = (), prediction: Prediction = "flow") -> dict[str, Mapping[str, Any]]:
    """Return changes by name, such as "vae.enable_tiling=true"; with `only`, those whose name contains one of its texts.

    `prediction` is the model's: its samplers are rows.
    """
    found = {
        (name := f"{option.key}={_said(value)}"): {**BESIDE.get(name, {}), option.key: value}
        for option in SCHEMA.request_options()
        if option.group in GROUPS and option.implemented and option.key not in NOT_ALONE
        for value in _others(option)
    }
    found |= {f"{SAMPLER}={name}": {SAMPLER: name} for name in usable(prediction)}
    found |= {f"{key}={value:g}": {key: value} for key, value in NUMBERS.items()}
    found["long prompt"] = {PROMPT: LONG_PROMPT}
    found["resume.interval=1"] = {"resume.interval": 1}
    return {name: change for name, change in found.items() if not only or any(text in name for text in only)}


def with_tiles(change: Mapping[str, Any], side: int) -> Mapping[str, Any]:
    """Return the change with tiles of half the longer side if default tiles would cover the whole image."""
    sizes = {"vae.enable_tiling": "vae.tile_sample_min_size", "vae.decoder_tiling": "vae.decoder_tile_size"}
    small = {
        size: max(64, side // 2)
        for switch, size in sizes.items()
        if change.get(switch) and SCHEMA.options[size].default >= side
    }
    return {**change, **small}


def _others(option: Option) -> tuple[Any, ...]:
    """Return the other values of an option; none for numbers, which have too many to try."""
    if option.type == "bool":
        return (not option.default,)
    if option.type == "choice":
        return tuple(value for value in option.choices if value not in (option.default, AUTO))
    return ()


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
