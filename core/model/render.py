"""One picture from a loaded model: noise, steps, decode, cut to size. Each part is timed and guarded.

What families of models do each in their own way, an `Artist` does (`z_image`, `stable`); this is the frame around it.
What this module does not know: how the model got into memory, the other pictures of the request, files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from PIL import Image

from core.errors import BrokenPictureError
from core.model import guard, memory, passes, sizes
from core.model.canvas import Canvas, Inputs, composed, prepare
from core.model.loader import LoadedModel
from core.model.sizes import deliver
from core.model.tuning import precision
from core.types import IMAGE, Decision, GenerationRequest, Phase, Picture

IsCancelled = Callable[[], bool]


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


def render(
    artist: Artist,
    model: LoadedModel,
    request: GenerationRequest,
    given: Given,
    report: Report,
    is_cancelled: IsCancelled,
) -> Picture:
    """One picture: noise, or a picture to draw over, steps, decode, cut to size, and laid into the picture it is part of.

    For high resolution all of that twice, the second time over the first one's picture; see `passes`.
    """
    memory.start_peak(model.device)
    drawn: list[_Drawn] = []
    stages = passes.of(request)
    for stage in stages:
        before = sum(one.steps for one in drawn)
        last = drawn[-1].image if stage.over_last else None
        steps = passes.steps_of(stage, model.info.pipeline, IMAGE in given.inputs)
        drawn.append(_draw(artist, model, stage, given, last, _part(report, before, steps), is_cancelled))
    final, asked = drawn[-1], stages[-1].request
    repaired = tuple(decision for one in drawn for decision in one.repaired)
    return Picture(
        image=final.image,
        request=request,
        rendered_size=final.size,
        timings={"text": given.texts.seconds, **_summed([one.timings for one in drawn])},
        effective={
            **artist.effective(model, asked),
            **passes.record(
                request, model.info.pipeline, IMAGE in given.inputs, drawn[0].size if len(drawn) > 1 else None
            ),
            **{decision.option: decision.effective for decision in repaired},
        },
        decisions=(
            *model.decisions,
            *given.texts.decisions,
            *artist.choices(model, asked),
            *_neutral_negative(request),
            *repaired,
        ),
        peak_memory_bytes=memory.read_peak(model.device),
    )


@dataclass(frozen=True)
class _Drawn:
    """What came out of one pass: the picture as it was asked for, the size it was drawn at, the steps that were run."""

    image: Image.Image
    size: tuple[int, int]
    steps: int
    timings: Mapping[str, float]
    repaired: tuple[Decision, ...]


def _draw(
    artist: Artist,
    model: LoadedModel,
    stage: passes.Pass,
    given: Given,
    last: Image.Image | None,
    report: Report,
    is_cancelled: IsCancelled,
) -> _Drawn:
    """One pass, over the picture of the `last` one where there is one."""
    request = stage.request
    asked, size, began = (request.width, request.height), size_to_render(model, request), time.perf_counter()
    resize = not request.options["force_original_resolution"]
    over = given.inputs if last is None else {**given.inputs, IMAGE: passes.enlarged(last, request)}
    canvas = prepare(over, asked, size, resize, stage.strength)
    latents = artist.denoise(model, request, given.texts, canvas, report, is_cancelled)
    denoised = _now(model.device)
    steps = passes.steps_of(stage, model.info.pipeline, IMAGE in given.inputs)
    report(Phase.DECODE, steps)
    image, repaired = _decode(artist, model, request, latents)
    image = composed(deliver(image, *asked, resize), given.inputs)
    timings = {"steps": denoised - began, "decode": time.perf_counter() - denoised}
    return _Drawn(image, size, steps, timings, repaired)


def _part(report: Report, before: int, steps: int) -> Report:
    """Steps are told as those of the whole picture: `before` were those of the passes before, `steps` are this one's.

    A scheduler such as PNDM takes a step more than it says.
    """

    def told(phase: Phase, step: int, preview: bytes | None = None) -> None:
        report(phase, before + min(step, steps), preview)

    return told


def _summed(timings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {part: sum(one[part] for one in timings) for part in timings[0]}


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
