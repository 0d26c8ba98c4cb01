"""The passes of one picture: one, or, for high resolution, a small picture first and then over it, enlarged, the whole one.

What this module does not know: how a pass is drawn, torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from core.config.schema import AUTO
from core.model.strength import steps_run
from core.types import GenerationRequest

UPSCALERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True)
class Pass:
    """What is asked of the model in one pass; `strength` is how much of the picture that it draws over is drawn anew."""

    request: GenerationRequest
    strength: float
    over_last: bool = False  # the picture is that of the pass before, enlarged


def of(request: GenerationRequest) -> tuple[Pass, ...]:
    """In order; the last one has the size asked for, and with a pass before it draws at exactly that size."""
    options = request.options
    if not options["hires.enabled"]:
        return (Pass(request, options["img2img.strength"]),)
    width, height = base_size(request)
    steps = request.num_inference_steps if options["hires.steps"] == AUTO else int(options["hires.steps"])
    exact = {**options, "force_original_resolution": True}
    return (
        Pass(replace(request, width=width, height=height), options["img2img.strength"]),
        Pass(replace(request, num_inference_steps=steps, options=exact), options["hires.strength"], over_last=True),
    )


def base_size(request: GenerationRequest) -> tuple[int, int]:
    """The size asked of the first pass of two, in pixels."""
    scale = float(request.options["hires.scale"])
    return round(request.width / scale), round(request.height / scale)


def steps_of(one: Pass, pipeline: str, from_picture: bool) -> int:
    """How many steps the pass runs; `from_picture`: the request comes with one to draw over."""
    if not (one.over_last or from_picture):
        return one.request.num_inference_steps
    return steps_run(pipeline, one.request.num_inference_steps, one.strength)


def all_steps(request: GenerationRequest, pipeline: str, from_picture: bool) -> int:
    """How many steps are run for the picture, over all its passes."""
    return sum(steps_of(one, pipeline, from_picture) for one in of(request))


def enlarged(image: Image.Image, request: GenerationRequest) -> Image.Image:
    """The picture of the pass before at the size asked for."""
    method = UPSCALERS[request.options["hires.upscaler"]]
    return image.resize((request.width, request.height), method)


def record(
    request: GenerationRequest, pipeline: str, from_picture: bool, base: tuple[int, int] | None
) -> dict[str, Any]:
    """For the picture's record: how many steps were really run, and the size that the first pass of two was drawn at."""
    stages = of(request)
    found: dict[str, Any] = {}
    if from_picture:
        found["img2img.steps"] = steps_of(stages[0], pipeline, True)
    if base is None:
        return found
    return {**found, "hires.base_size": list(base), "hires.steps_run": steps_of(stages[-1], pipeline, True)}
