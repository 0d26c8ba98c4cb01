"""Plan the passes of one image: one, or with hires fix a small image first, then img2img over it, upscaled. Without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from core.config.schema import AUTO
from core.models.families import FAMILIES
from core.types import GenerationRequest

UPSCALERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True)
class Pass:
    """One run of the model; `strength` is the denoising strength over an image."""

    request: GenerationRequest
    strength: float
    over_last: bool = False  # the image is that of the pass before, upscaled


def of(request: GenerationRequest) -> tuple[Pass, ...]:
    """Return the passes in order; the last has the requested size, and after another pass renders at exactly that size."""
    options = request.options
    if not options["hires.enabled"]:
        return (Pass(request, options["img2img.denoising_strength"]),)
    width, height = base_size(request)
    steps = request.num_inference_steps if options["hires.steps"] == AUTO else int(options["hires.steps"])
    exact = {**options, "force_original_resolution": True}
    return (
        Pass(replace(request, width=width, height=height), options["img2img.denoising_strength"]),
        Pass(
            replace(request, num_inference_steps=steps, options=exact),
            options["hires.denoising_strength"],
            over_last=True,
        ),
    )


def base_size(request: GenerationRequest) -> tuple[int, int]:
    """Return the requested size of the first pass of two, in pixels."""
    scale = float(request.options["hires.scale"])
    return round(request.width / scale), round(request.height / scale)


def steps_of(one: Pass, pipeline: str, from_image: bool) -> int:
    """Return how many steps the pass runs; `from_image`: the request comes with an image to start from."""
    if not (one.over_last or from_image):
        return one.request.num_inference_steps
    return FAMILIES[pipeline].steps_run(one.request.num_inference_steps, one.strength)


def all_steps(request: GenerationRequest, pipeline: str, from_image: bool) -> int:
    """Return how many steps are run for the image over all its passes."""
    return sum(steps_of(one, pipeline, from_image) for one in of(request))


def enlarged(image: Image.Image, request: GenerationRequest) -> Image.Image:
    """Upscale the image of the pass before to the requested size."""
    method = UPSCALERS[request.options["hires.upscaler"]]
    return image.resize((request.width, request.height), method)


def record(request: GenerationRequest, pipeline: str, from_image: bool, base: tuple[int, int] | None) -> dict[str, Any]:
    """Return for the record how many steps were run, and the size that the first pass of two was rendered at."""
    stages = of(request)
    found: dict[str, Any] = {}
    if from_image:
        found["img2img.steps"] = steps_of(stages[0], pipeline, True)
    if base is None:
        return found
    return {**found, "hires.base_size": list(base), "hires.steps_run": steps_of(stages[-1], pipeline, True)}
