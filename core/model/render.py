"""One picture from a loaded model: text, noise, steps, decode, cut to size. Each part is timed and guarded.

What this module does not know: how the model got into memory, the other pictures of the request, files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image

from core.config.schema import AUTO
from core.errors import BrokenPictureError, Cancelled
from core.model import guard, memory
from core.model.loader import LoadedModel
from core.model.preview import estimate_clean
from core.model.sizes import deliver, rendered_size
from core.model.tuning import attention, precision, rope, speed, tiling
from core.types import Decision, GenerationRequest, Phase, Picture

IsCancelled = Callable[[], bool]


class Report(Protocol):
    """Told after each step and at the decode; `step` counts from 1."""

    def __call__(self, phase: Phase, step: int, preview: bytes | None = None) -> None: ...


@dataclass(frozen=True)
class Texts:
    """Text embeddings of one request, and what was cut off."""

    positive: list[torch.Tensor]
    negative: list[torch.Tensor] | None
    seconds: float
    decisions: tuple[Decision, ...]


def encode(model: LoadedModel, request: GenerationRequest) -> Texts:
    """Once a request: all its pictures share prompt and negative prompt."""
    began = time.perf_counter()
    limit = request.options["transformer.max_sequence_length"]
    positive = [_embedding(model, request, request.prompt)]
    negative = [_embedding(model, request, request.negative_prompt)] if request.guidance_scale > 0 else None
    _wait(model.device)
    seconds = time.perf_counter() - began
    return Texts(positive, negative, seconds, _cut_off(model, request, positive[0].shape[0], limit))


def _embedding(model: LoadedModel, request: GenerationRequest, prompt: str) -> torch.Tensor:
    """One prompt's embedding (tokens, width), from the cache or the text encoder."""
    limit = request.options["transformer.max_sequence_length"]
    trimmed = speed.trims(request.options["speed.trim_text"], model.device)[0]
    key = (prompt, limit, trimmed)
    known = model.texts.get(key) if request.options["speed.cache_text"] else None
    if known is not None:
        return known
    embedding = speed.encode(model.pipeline, prompt, limit, trimmed)
    guard.check_texts([embedding])
    if request.options["speed.cache_text"]:
        model.texts.put(key, embedding)
    return embedding


def _cut_off(model: LoadedModel, request: GenerationRequest, used: int, limit: int) -> tuple[Decision, ...]:
    """Says so when the prompt was longer than the encoder reads: upstream cuts it in silence."""
    if used < limit:
        return ()
    tokens = len(model.pipeline.tokenizer(request.prompt).input_ids)
    reason = {
        "en": f"the prompt has about {tokens} tokens; what follows the first {limit}, its template included, was not read",
        "zh": f"提示词约有 {tokens} 个 token；含模板在内，前 {limit} 个之后的内容未被读取",
    }
    return (Decision("transformer.max_sequence_length", tokens, limit, reason),)


def render(
    model: LoadedModel, request: GenerationRequest, texts: Texts, report: Report, is_cancelled: IsCancelled
) -> Picture:
    """One picture: noise, steps, decode, cut to size."""
    memory.start_peak(model.device)
    width, height = size_to_render(model, request)
    began = time.perf_counter()
    latents = _denoise(model, request, texts, (width, height), report, is_cancelled)
    _wait(model.device)
    denoised = time.perf_counter()
    report(Phase.DECODE, request.num_inference_steps)
    image, repaired = _decode(model, request, latents)
    decoded = time.perf_counter()
    resize = not request.options["force_original_resolution"]
    return Picture(
        image=deliver(image, request.width, request.height, resize),
        request=request,
        rendered_size=(width, height),
        timings={"text": texts.seconds, "steps": denoised - began, "decode": decoded - denoised},
        effective=_effective(model, request) | {decision.option: decision.effective for decision in repaired},
        decisions=(
            *model.decisions,
            *texts.decisions,
            *_scaled(model, request),
            *neutral_negative(request),
            *repaired,
        ),
        peak_memory_bytes=memory.read_peak(model.device),
    )


def size_to_render(model: LoadedModel, request: GenerationRequest) -> tuple[int, int]:
    """Width and height that the model draws for this request, before the cut or the resizing."""
    info = model.info
    native = None if request.options["force_original_resolution"] else info.default_width * info.default_height
    return rendered_size(request.width, request.height, info.size_multiple, native, info.max_side)


def positions(model: LoadedModel, request: GenerationRequest) -> rope.RopePlan:
    """How the request's options make the positions of a picture of its size."""
    return rope.plan_positions(request.options, model.info.trained_side, size_to_render(model, request))


def _scaled(model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]:
    return rope.automatic_choice(request.options, positions(model, request), size_to_render(model, request))


def _denoise(
    model: LoadedModel,
    request: GenerationRequest,
    texts: Texts,
    size: tuple[int, int],
    report: Report,
    is_cancelled: IsCancelled,
) -> torch.Tensor:
    """The clean latents (1, 16, height / 8, width / 8), normalised, in float32."""
    pipeline = model.pipeline
    device = pipeline._execution_device
    generator = torch.Generator("cpu").manual_seed(
        request.seed
    )  # on the CPU, so that every device draws the same noise
    noise = pipeline.prepare_latents(
        1, pipeline.transformer.in_channels, size[1], size[0], torch.float32, device, generator
    )
    before = noise
    # Here and not once a request: each picture of a batch may have a size of its own.
    rope.apply(pipeline.transformer, positions(model, request))

    def after_step(pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal before
        if is_cancelled():
            raise Cancelled  # raised here, the pipeline neither goes on nor decodes
        after = tensors["latents"]
        guard.check_latents(after, index + 1)
        report(Phase.STEPS, index + 1, _preview(model, request, before, after, index))
        before = after
        rope.fade_to(pipe.transformer, float(pipe.scheduler.sigmas[index + 1]))
        return {}

    refine_once = request.options["speed.refine_once"] and not model.plan.dropout  # dropout: another text each step
    with (
        speed.refined_once(pipeline.transformer, refine_once),
        attention.seeded(model.plan, request.seed, model.device),
    ):
        result = pipeline(
            height=size[1],
            width=size[0],
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            cfg_normalization=request.options["guidance.normalization"],
            cfg_truncation=request.options["guidance.truncation"],
            latents=noise,
            prompt_embeds=texts.positive,
            negative_prompt_embeds=texts.negative,
            output_type="latent",
            callback_on_step_end=after_step,
        )
    latents: torch.Tensor = result.images
    return latents


def _preview(
    model: LoadedModel, request: GenerationRequest, before: torch.Tensor, after: torch.Tensor, index: int
) -> bytes | None:
    due = (index + 1) % request.options["preview.every"] == 0
    if model.previewer is None or not request.options["preview.enabled"] or not due:
        return None
    sigmas = model.pipeline.scheduler.sigmas
    return model.previewer.draw(estimate_clean(before, after, float(sigmas[index]), float(sigmas[index + 1])))


def _decode(
    model: LoadedModel, request: GenerationRequest, latents: torch.Tensor
) -> tuple[Image.Image, tuple[Decision, ...]]:
    """The picture; when it is broken, once more in float32, and then a decision that says so."""
    step = request.num_inference_steps
    try:
        return _decode_once(model, latents, step), ()
    except BrokenPictureError as broken:
        present = model.dtypes["vae"]
        if present == "float32" or not request.options["guard.retry"]:
            raise
        reason = {
            language: words.format(step=step, came=broken.said("came", language), dtype=present)
            for language, words in _DECODED_AGAIN.items()
        }
    with precision.in_float32(model.pipeline.vae):
        return _decode_once(model, latents, step), (Decision("vae.dtype", present, "float32", reason),)


_DECODED_AGAIN = {
    "en": "decoding in {dtype} gave {came}, so it was decoded again",
    "zh": "以 {dtype} 解码得到 {came}，因此重新解码",
}


def _decode_once(model: LoadedModel, latents: torch.Tensor, step: int) -> Image.Image:
    """Latents to pixels, in the pipeline's own order of operations, with the guard between decode and rounding."""
    pipeline = model.pipeline
    vae = pipeline.vae
    scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    pixels = vae.decode(scaled, return_dict=False)[0]
    guard.check_decoded(pixels, step)
    image: Image.Image = pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
    pipeline.maybe_free_model_hooks()
    guard.check_picture(image, step)
    return image


def _effective(model: LoadedModel, request: GenerationRequest) -> dict[str, Any]:
    """What was really in effect: every option, resolved, and what the request does not hold."""
    tiles = tiling.wanted_tiles(request.options)
    return {
        **request.options,
        "model.device": model.device,
        "model.dtype": model.dtype,
        **model.effective,
        "model.fingerprint": model.fingerprint,
        "scheduler": type(model.pipeline.scheduler).__name__,
        "scheduler.shift": effective_shift(model, request.options),
        "transformer.rope": positions(model, request).record,
        "vae.tiles": tiles.record,
        "versions": dict(model.versions),
    }


def neutral_negative(request: GenerationRequest) -> tuple[Decision, ...]:
    """A negative prompt without guidance has no effect: upstream ignores it in silence, the record does not."""
    if not request.negative_prompt or request.guidance_scale > 0:
        return ()
    reason = {"en": "guidance is 0, so the negative prompt has no effect", "zh": "引导强度为 0，反向提示词不起作用"}
    return (Decision("generation.negative_prompt", request.negative_prompt, "", reason),)


def _wait(device: str) -> None:
    """Timings are true only when the card has finished what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()


def effective_shift(model: LoadedModel, options: Mapping[str, Any]) -> float:
    wanted = options["scheduler.shift"]
    return float(model.pipeline.scheduler.config.shift if wanted == AUTO else wanted)
