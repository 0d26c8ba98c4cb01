"""Prepare the control images that ControlNets follow, and the arguments of the pipeline for them. Without torch.

A model may have a ControlNet of its own, which the options `controlnet.preprocessor` to `controlnet.end` are for; or ControlNets
are put beside it by the option `controlnet.units`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from core.config.control_units import (
    KEY,
    PREPROCESSORS,
    UNION_TYPES,
    ControlUnit,
    read_units,
    role_of,
    units_of,
)
from core.config.schema import AUTO
from core.config.typed_settings import Options
from core.errors import InputCombinationError, OptionError
from core.i18n import localize
from core.inference.control_maps import Estimator, control_map
from core.inference.img2img import Canvas
from core.models.families.base import ControlNetUse
from core.types import CONTROL, CONTROLS, IMAGE

MISSING = localize("inference.controlnet.missing")


def check_control(options: Mapping[str, Any], source: str) -> None:
    """Raise OptionError where two options of the model's own ControlNet contradict each other."""
    option = Options(options)
    low, high = option.controlnet.canny_low, option.controlnet.canny_high
    if option.controlnet.preprocessor == PREPROCESSORS[1] and low > high:
        raise OptionError(
            source=source, key="controlnet.canny_low", value=low, allowed=f"0 - {high} (controlnet.canny_high)"
        )
    start, end = option.controlnet.start, option.controlnet.end
    if start >= end:
        raise OptionError(source=source, key="controlnet.start", value=start, allowed=f"0 - {end:g}, < controlnet.end")


def check_images(options: Mapping[str, Any], inputs: Mapping[str, object]) -> None:
    """Raise InputCombinationError for a unit without an image, and for a control image that no unit uses."""
    units = read_units(tuple(options.get(KEY, ())), "request")
    used = set()
    for position, unit in enumerate(units):
        role = role_of(unit, position, inputs)
        if role is None:
            wanted = CONTROLS[(unit.image or position + 1) - 1]
            raise InputCombinationError(role=wanted, problem=localize("inference.controlnet.no_image", name=unit.name))
        used.add(role)
    for role in CONTROLS:
        if units and role in inputs and role not in used:
            raise InputCombinationError(role=role, problem=localize("inference.controlnet.unused"))


def own_unit(options: Mapping[str, Any], default: float) -> ControlUnit:
    """Return what the options say of the ControlNet that the model has itself; `default` is the pipeline's own weight."""
    option = Options(options)
    weight = option.controlnet.scale
    return ControlUnit(
        name="",
        weight=default if weight == AUTO else float(weight),
        preprocessor=option.controlnet.preprocessor,
        low=option.controlnet.canny_low,
        high=option.controlnet.canny_high,
        start=option.controlnet.start,
        end=option.controlnet.end,
    )


def with_maps(use: ControlNetUse | None, options: Mapping[str, Any], canvas: Canvas, estimate: Estimator) -> Canvas:
    """Return the canvas with the map of each ControlNet; as it is without one.

    Raises InputCombinationError without an image for a ControlNet, ControlNetError for a map without its model.
    """
    if use is None:
        return canvas
    units = units_of(options)
    if not units:
        if CONTROL not in canvas.controls:
            raise InputCombinationError(role=CONTROL, problem=MISSING)
        return canvas.with_maps((control_map(canvas.controls[CONTROL], own_unit(options, use.scale), estimate),))
    return canvas.with_maps(tuple(unit_map(unit, position, canvas, estimate) for position, unit in _placed(options)))


def unit_map(unit: ControlUnit, position: int, canvas: Canvas, estimate: Estimator) -> Image.Image:
    """Return the map of a unit at `position` (from 0) of an image that is rendered. Raises as `with_maps`."""
    images = {**canvas.controls, **({IMAGE: canvas.image} if canvas.image is not None else {})}
    role = role_of(unit, position, images)
    if role is None:
        wanted = CONTROLS[(unit.image or position + 1) - 1]
        raise InputCombinationError(role=wanted, problem=localize("inference.controlnet.no_image", name=unit.name))
    return control_map(images[role], unit, estimate)


def arguments(use: ControlNetUse | None, options: Mapping[str, Any], canvas: Canvas) -> dict[str, Any]:
    """Return the pipeline's arguments for its ControlNets, none without one. Of a single one they are no lists."""
    if use is None:
        return {}
    units: Sequence[ControlUnit] = units_of(options) or (own_unit(options, use.scale),)
    several = len(units) > 1
    weights = [use.scale if unit.weight is None else unit.weight for unit in units]
    images: Any = list(canvas.maps) if several or use.union else canvas.maps[0]
    found: dict[str, Any] = {
        use.argument if canvas.image is None else use.over: images,
        "controlnet_conditioning_scale": weights if several else weights[0],
    }
    if use.window:
        starts, ends = [unit.start for unit in units], [unit.end for unit in units]
        found["control_guidance_start"] = starts if several else starts[0]
        found["control_guidance_end"] = ends if several else ends[0]
    if use.union:
        found["control_mode"] = [UNION_TYPES[unit.union_type] for unit in units]
    return found


def window(options: Mapping[str, Any]) -> tuple[float, float]:
    """Return start and end (shares of the steps) of a pipeline's only ControlNet."""
    units = units_of(options)
    return (
        (units[0].start, units[0].end)
        if units
        else (Options(options).controlnet.start, Options(options).controlnet.end)
    )


def effective(use: ControlNetUse | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return for the record what was left open: the weights."""
    if use is None:
        return {}
    units = units_of(options)
    if not units:
        return {"controlnet.scale": own_unit(options, use.scale).weight}
    weighed = (unit if unit.weight is not None else unit.of_weight(use.scale) for unit in units)
    return {KEY: tuple(map(str, weighed))}


def _placed(options: Mapping[str, Any]) -> list[tuple[int, ControlUnit]]:
    """Return the acting units with their positions among all: one of weight 0 keeps its image."""
    return [
        (position, unit)
        for position, unit in enumerate(read_units(tuple(options.get(KEY, ())), "request"))
        if unit.acts
    ]
