"""List the axes of an X/Y/Z plot: options, the model, the weight of a LoRA, and replaced words of the prompt.

`axes_of` lists what a request can be varied by; `read` checks typed values; `applied` makes the request of one cell.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.config import samplers
from core.config.cfg import CFG, GUIDANCE
from core.config.control_units import KEY as UNITS
from core.config.control_units import MODES, PREPROCESSORS, ControlUnit, read_units
from core.config.lora_syntax import KEY as LORAS
from core.config.lora_syntax import LARGEST, LoraSpec, lora_specs_of, split_prompt
from core.config.options import SCHEMA
from core.config.schema import AUTO, Option
from core.errors import OptionError
from core.i18n import localize
from core.models.families import FAMILIES
from core.studio import request_builder
from core.types import Axis, GenerationRequest, ModelInfo, cfg_of

SOURCE = "sweep"
MODEL = "model.id"
PROMPT_REPLACE = "prompt.replace"  # values: the words of the prompt, then what takes their place
LORA_WEIGHT = "lora.weight:"  # followed by the name of a LoRA that the request uses
UNIT = "controlnet.units:"  # followed by the number of a unit (from 1), a colon, and one of its fields
UNIT_FIELDS = ("weight", "start", "end", "preprocessor", "mode")
MOST_AXES = 3
MAX_CELLS = 100  # images of one plot
_BASIC = ("num_inference_steps", "cfg_scale", "seed", "width", "height")
_KINDS = ("int", "float", "bool", "choice")


@dataclass(frozen=True)
class SweepAxis:
    """Something that a request can be varied by. `choices` are its values to select from; without any they are typed."""

    key: str
    label: Mapping[str, str]
    choices: tuple[str, ...] = ()
    example: str = ""
    allowed: Mapping[str, str] | None = None  # what may be typed, in words


def axes_of(request: GenerationRequest, models: Sequence[ModelInfo]) -> tuple[SweepAxis, ...]:
    """Return the axes for a request: `models` are all that are known, of which those that can be used are values."""
    model = next((one for one in models if one.id == request.model), None)
    usable = tuple(one.id for one in models if one.problem is None)
    found = [_option_axis(SCHEMA.options[f"generation.{name}"], model) for name in _BASIC]
    found.append(SweepAxis(PROMPT_REPLACE, label(PROMPT_REPLACE), (), "red, blue, green", _REPLACE_ALLOWED))
    found.append(SweepAxis(MODEL, label(MODEL), usable))
    found += [
        SweepAxis(f"{LORA_WEIGHT}{spec.name}", label(f"{LORA_WEIGHT}{spec.name}"), (), "0, 0.5, 1", _WEIGHT_ALLOWED)
        for spec in _loras(request)
    ]
    found += [
        SweepAxis(key := f"{UNIT}{number}:{name}", label(key), _UNIT_CHOICES.get(name, ()), "0, 0.5, 1", _SHARE_ALLOWED)
        for number, _ in enumerate(_units(request), start=1)
        for name in UNIT_FIELDS
    ]
    cannot = model.cannot if model is not None else {}
    options = [
        option
        for option in SCHEMA.request_options()
        if option.implemented and option.type in _KINDS and option.key not in cannot
    ]
    return (*found, *(_option_axis(option, model) for option in options))


def label(key: str) -> Mapping[str, str]:
    """Return the name of an axis in each language."""
    if key.startswith(LORA_WEIGHT):
        return localize("studio.sweep_axes.lora_weight", name=key.removeprefix(LORA_WEIGHT))
    if key.startswith(UNIT):
        number, _, name = key.removeprefix(UNIT).partition(":")
        return localize("studio.sweep_axes.unit", number=number, name=name)
    if key == PROMPT_REPLACE:
        return localize("studio.sweep_axes.prompt_replace")
    return SCHEMA.options[SCHEMA.canonical(key)].label


def split(text: str) -> list[str]:
    """Return the values of a typed list. Commas of either language separate; a value in double quotes may have some."""
    parts = next(csv.reader([text.replace("，", ",")], skipinitialspace=True), [])
    return [part.strip() for part in parts if part.strip()]


def read(key: str, values: Sequence[Any], request: GenerationRequest) -> Axis:
    """Return the axis with its values in their own types, each once. Raises InputError for one that can't be used."""
    if key == PROMPT_REPLACE:
        found: list[Any] = [str(value) for value in values]
        if len(found) < 2 or found[0] not in request.prompt:
            raise OptionError(source=SOURCE, key=key, value=", ".join(found)[:100] or "-", allowed=_REPLACE_ALLOWED)
    elif key.startswith(LORA_WEIGHT):
        if key.removeprefix(LORA_WEIGHT) not in {spec.name for spec in _loras(request)}:
            used = ", ".join(spec.name for spec in _loras(request)) or "-"
            raise OptionError(source=SOURCE, key=LORAS, value=key.removeprefix(LORA_WEIGHT)[:100], allowed=used)
        found = [_weight(key, value) for value in values]
    elif key.startswith(UNIT):
        found = [str(value).strip() for value in values]
        for value in found:
            _with_unit(request, key, value)
    else:
        option = SCHEMA.find(key, SOURCE)
        found = [option.check(value, SOURCE) for value in values]
    return Axis(key, tuple(dict.fromkeys(found)))


def of_cfg_scale(axis: Axis, model: ModelInfo) -> Axis:
    """Return an axis of `guidance_scale` as one of the CFG scale, and every other as it is."""
    if axis.key.startswith((LORA_WEIGHT, UNIT)) or axis.key == PROMPT_REPLACE or SCHEMA.canonical(axis.key) != GUIDANCE:
        return axis
    option = SCHEMA.options[GUIDANCE]
    return Axis(CFG, tuple(cfg_of(option.check(value, SOURCE), model.cfg_offset) for value in axis.values))


def applied(request: GenerationRequest, axis: Axis, value: Any) -> GenerationRequest:
    """Return the request with one value of an axis, as one image."""
    if axis.key == PROMPT_REPLACE:
        prompt = request.prompt.replace(str(axis.values[0]), str(value))
        return replace(request, prompt=prompt, template="", num_images=1)
    if axis.key == MODEL:
        return replace(request, model=str(value), num_images=1)
    if axis.key.startswith(LORA_WEIGHT):
        return _with_weight(request, axis.key.removeprefix(LORA_WEIGHT), float(value))
    if axis.key.startswith(UNIT):
        return _with_unit(request, axis.key, str(value))
    return request_builder.with_values(request, {axis.key: value})


def _option_axis(option: Option, model: ModelInfo | None) -> SweepAxis:
    choices = {"bool": ("false", "true"), "choice": option.choices}.get(option.type, ())
    family = FAMILIES.get(model.pipeline) if model is not None else None
    if family is not None and option.key == samplers.SAMPLER:
        usable = samplers.usable(family.prediction)
        choices = tuple(name for name in option.choices if name == AUTO or name in usable)
    return SweepAxis(option.key, option.label, choices, "4, 8, 12", option.allowed)


def _loras(request: GenerationRequest) -> tuple[LoraSpec, ...]:
    return lora_specs_of(request, SOURCE)


def _weight(key: str, value: Any) -> float:
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = float("nan")
    if not abs(weight) <= LARGEST:
        raise OptionError(source=SOURCE, key=key, value=str(value)[:100], allowed=_WEIGHT_ALLOWED)
    return weight


def _with_weight(request: GenerationRequest, name: str, weight: float) -> GenerationRequest:
    """Return the request with another weight of a LoRA; weights for parts of the model give way to it."""
    specs = [LoraSpec(spec.name, weight) if spec.name == name else spec for spec in _loras(request)]
    prompt, _ = split_prompt(request.prompt)
    options = {**request.options, LORAS: tuple(str(spec) for spec in specs)}
    return replace(request, prompt=prompt, template="", options=options, num_images=1)


def _units(request: GenerationRequest) -> tuple[ControlUnit, ...]:
    return read_units(tuple(request.options.get(UNITS, ())), SOURCE)


def _with_unit(request: GenerationRequest, key: str, value: str) -> GenerationRequest:
    """Return the request with another value of a field of one ControlNet unit. Raises OptionError."""
    number, _, name = key.removeprefix(UNIT).partition(":")
    units = list(_units(request))
    if name not in UNIT_FIELDS or not number.isdecimal() or not 1 <= int(number) <= len(units):
        raise OptionError(
            source=SOURCE, key=UNITS, value=key[:100], allowed=f"{UNIT}1:weight - {UNIT}{len(units)}:mode"
        )
    (given,) = read_units([f"x:{value}" if name == "weight" else f"x:{name}={value}"], SOURCE)
    units[int(number) - 1] = replace(units[int(number) - 1], **{name: getattr(given, name)})
    texts = tuple(map(str, units))
    read_units(texts, SOURCE)  # start below end
    return replace(request, options={**request.options, UNITS: texts}, num_images=1)


_UNIT_CHOICES = {"preprocessor": PREPROCESSORS, "mode": MODES}
_SHARE_ALLOWED = localize("studio.sweep_axes.share_allowed")
_REPLACE_ALLOWED = localize("studio.sweep_axes.replace_allowed")
_WEIGHT_ALLOWED = localize("studio.sweep_axes.weight_allowed", largest=LARGEST)
