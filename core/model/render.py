"""One picture from a loaded model: noise, steps, decode, cut to size. Each part is timed and guarded.

What families of models do each in their own way, an `Artist` does (`z_image`, `stable`); this is the frame around it.
What this module does not know: how the model got into memory, the other pictures of the request, files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from PIL import Image

from core.errors import BrokenPictureError
from core.model import guard, memory, sizes
from core.model.canvas import Canvas, Inputs, composed, prepare
from core.model.loader import LoadedModel
from core.model.sizes import deliver
from core.model.strength import steps_run
from core.model.tuning import precision
from core.types import IMAGE, Decision, GenerationRequest, Phase, Picture

IsCancelled = Callable[[], bool]
STEPS_RUN = "img2img.steps"  # in the record: how many steps were really run


class Report(Protocol):
    """Told after each step and at the decode; `step` counts from 1."""

    def __call__(self, phase: Phase, step: int, preview: bytes | None = None) -> None: ...


@dataclass(frozen=True)
class Texts:
    """Text embeddings of one request, as its artist wants them, and what was cut off."""

    positive: Sequence[torch.Tensor]
    negative: Sequence[torch.Tensor] | None
    decisions: tuple[Decision, ...]
    seconds: float = 0.0


@dataclass(frozen=True)
class Given:
    """What a request comes with: its texts, encoded, and its input pictures by role."""

    texts: Texts
    inputs: Inputs = field(default_factory=dict)


class Artist(Protocol):
    """A module that knows one family of models."""

    def encode(self, model: LoadedModel, request: GenerationRequest) -> Texts: ...

    def denoise(
        self,
        model: LoadedModel,
        request: GenerationRequest,
        texts: Texts,
        canvas: Canvas,
        report: Report,
        is_cancelled: IsCancelled,
    ) -> torch.Tensor: ...

    def to_pixels(self, vae: Any, latents: torch.Tensor) -> torch.Tensor: ...

    def effective(self, model: LoadedModel, request: GenerationRequest) -> dict[str, Any]: ...

    def choices(self, model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]: ...


def encode(artist: Artist, model: LoadedModel, request: GenerationRequest) -> Texts:
    """Once a request: all its pictures share prompt and negative prompt."""
    began = time.perf_counter()
    texts = artist.encode(model, request)
    return replace(texts, seconds=_now(model.device) - began)


def steps_of(model: LoadedModel, request: GenerationRequest, inputs: Inputs) -> int:
    """How many steps will be run for this picture."""
    if IMAGE not in inputs:
        return request.num_inference_steps
    return steps_run(model.info.pipeline, request.num_inference_steps, request.options["img2img.strength"])


def render(
    artist: Artist,
    model: LoadedModel,
    request: GenerationRequest,
    given: Given,
    report: Report,
    is_cancelled: IsCancelled,
) -> Picture:
    """One picture: noise, or a picture to draw over, steps, decode, cut to size, and laid into the picture it is part of."""
    memory.start_peak(model.device)
    asked, size, texts = (request.width, request.height), size_to_render(model, request), given.texts
    began = time.perf_counter()
    resize = not request.options["force_original_resolution"]
    canvas = prepare(given.inputs, asked, size, resize, request.options["img2img.strength"])
    latents = artist.denoise(model, request, texts, canvas, report, is_cancelled)
    denoised = _now(model.device)
    steps = steps_of(model, request, given.inputs)
    report(Phase.DECODE, steps)
    image, repaired = _decode(artist, model, request, latents)
    decoded = time.perf_counter()
    return Picture(
        image=composed(deliver(image, *asked, resize), given.inputs),
        request=request,
        rendered_size=size,
        timings={"text": texts.seconds, "steps": denoised - began, "decode": decoded - denoised},
        effective={
            **artist.effective(model, request),
            **({STEPS_RUN: steps} if canvas.image is not None else {}),
            **{decision.option: decision.effective for decision in repaired},
        },
        decisions=(
            *model.decisions,
            *texts.decisions,
            *artist.choices(model, request),
            *_neutral_negative(request),
            *repaired,
        ),
        peak_memory_bytes=memory.read_peak(model.device),
    )


def size_to_render(model: LoadedModel, request: GenerationRequest) -> tuple[int, int]:
    """Width and height that the model draws for this request, before the cut or the resizing."""
    return sizes.size_to_render(model.info, request)


def _decode(
    artist: Artist, model: LoadedModel, request: GenerationRequest, latents: torch.Tensor
) -> tuple[Image.Image, tuple[Decision, ...]]:
    """The picture; when it is broken, once more in float32, and then a decision that says so."""
    step = request.num_inference_steps
    try:
        return _decode_once(artist, model, latents, step), ()
    except BrokenPictureError as broken:
        present = model.dtypes["vae"]
        if present == "float32" or not request.options["guard.retry"]:
            raise
        reason = {
            language: words.format(step=step, came=broken.said("came", language), dtype=present)
            for language, words in _DECODED_AGAIN.items()
        }
    with precision.in_float32(model.pipeline.vae):
        return _decode_once(artist, model, latents, step), (Decision("vae.dtype", present, "float32", reason),)


_DECODED_AGAIN = {
    "en": "decoding in {dtype} gave {came}, so it was decoded again",
    "zh": "以 {dtype} 解码得到 {came}，因此重新解码",
}


def _decode_once(artist: Artist, model: LoadedModel, latents: torch.Tensor, step: int) -> Image.Image:
    """Latents to a picture, in the pipeline's own order of operations, with the guard between decode and rounding."""
    pipeline = model.pipeline
    pixels = artist.to_pixels(pipeline.vae, latents)
    guard.check_decoded(pixels, step)
    image: Image.Image = pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
    pipeline.maybe_free_model_hooks()
    guard.check_picture(image, step)
    return image


def _neutral_negative(request: GenerationRequest) -> tuple[Decision, ...]:
    """A negative prompt without guidance has no effect: upstream ignores it in silence, the record does not."""
    if not request.negative_prompt or request.guidance_scale > 0:
        return ()
    reason = {"en": "guidance is 0, so the negative prompt has no effect", "zh": "引导强度为 0，反向提示词不起作用"}
    return (Decision("generation.negative_prompt", request.negative_prompt, "", reason),)


def _now(device: str) -> float:
    """Timings are true only when the card has finished what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
