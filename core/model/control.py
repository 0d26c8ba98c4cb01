"""A ControlNet at work: what its pipeline is given besides, and what keeps it in step with its transformer.

The Z-Image ControlNet borrows most of its layers from the transformer; its own control layers, and the positions of its tokens,
have to be brought to what the options say as well.
What this module does not know: how it got into memory, how a control picture is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from core.config.schema import AUTO
from core.errors import InputsError
from core.model.canvas import Canvas
from core.model.edges import MISSING, control_picture
from core.model.families import CONTROLNET, SDXL_CONTROL, Z_IMAGE_CONTROL
from core.types import CONTROL, ModelInfo

DEFAULT_SCALES = {SDXL_CONTROL: 1.0, Z_IMAGE_CONTROL: 0.75}  # of the pipelines themselves


def network(pipeline: Any) -> Any | None:
    """The pipeline's ControlNet, if it has one."""
    return getattr(pipeline, CONTROLNET, None)


def own_layers(pipeline: Any) -> nn.ModuleList | None:
    """The layers of a Z-Image ControlNet that are not the transformer's; None without one."""
    found = network(pipeline)
    if found is None or not hasattr(found, "control_layers"):
        return None
    return nn.ModuleList([*found.control_layers, *(found.control_noise_refiner or ())])


def follow(pipeline: Any) -> None:
    """The network turns its tokens as the transformer now does."""
    found = network(pipeline)
    if found is not None:
        found.rope_embedder = pipeline.transformer.rope_embedder


def scale(info: ModelInfo, options: Mapping[str, Any]) -> float:
    """`control.scale`, or what the pipeline itself takes."""
    asked = options["control.scale"]
    return DEFAULT_SCALES[info.pipeline] if asked == AUTO else float(asked)


def given(info: ModelInfo, options: Mapping[str, Any], canvas: Canvas) -> dict[str, Any]:
    """What the pipeline is called with besides; nothing for a model without a ControlNet."""
    if CONTROL not in info.inputs:
        return {}
    if canvas.control is None:
        raise InputsError(role=CONTROL, problem=MISSING)
    picture = control_picture(canvas.control, options)
    strength = {"controlnet_conditioning_scale": scale(info, options)}
    if info.pipeline == Z_IMAGE_CONTROL:
        return {"control_image": picture, **strength}
    window = {"control_guidance_start": options["control.start"], "control_guidance_end": options["control.end"]}
    return {"image": picture, **strength, **window}


def effective(info: ModelInfo, options: Mapping[str, Any]) -> dict[str, Any]:
    """For the record, what was left open."""
    return {"control.scale": scale(info, options)} if CONTROL in info.inputs else {}


@contextmanager
def in_step(pipeline: Any, options: Mapping[str, Any], steps: int) -> Iterator[None]:
    """For one picture of Z-Image, whose pipeline has no start and end: outside of them the network counts nothing, by SDXL's rule.

    The pipeline gives it the control picture in the VAE's number format, which may be another than the network's.
    """
    found, start, end, step = network(pipeline), options["control.start"], options["control.end"], 0
    if found is None:
        yield
        return

    def before(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        nonlocal step
        counts = start <= step / steps and (step + 1) / steps <= end
        step += 1
        strength = named["conditioning_scale"] if counts else 0.0
        *others, picture = given
        return (*others, picture.to(found.dtype)), {**named, "conditioning_scale": strength}

    handle = found.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
