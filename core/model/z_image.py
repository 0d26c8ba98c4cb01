"""Z-Image: text, noise and steps, latents to pixels, and what was in effect; `render` is the frame around it.

What this module does not know: how the model got into memory, the other pictures of the request, files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from core.config.schema import AUTO
from core.errors import Cancelled
from core.model import control, guard, over
from core.model.canvas import Canvas
from core.model.loader import LoadedModel
from core.model.preview import PreviewBudget, Previewer
from core.model.render import IsCancelled, Report, Texts, size_to_render
from core.model.tuning import attention, rope, speed, tiling
from core.types import Decision, GenerationRequest, Phase


def encode(model: LoadedModel, request: GenerationRequest) -> Texts:
    """`positive` and `negative` are [(tokens, width)]."""
    limit = request.options["transformer.max_sequence_length"]
    positive = [_embedding(model, request, request.prompt)]
    negative = [_embedding(model, request, request.negative_prompt)] if request.guidance_scale > 0 else None
    return Texts(positive, negative, _cut_off(model, request, positive[0].shape[0], limit))


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


def positions(model: LoadedModel, request: GenerationRequest) -> rope.RopePlan:
    """How the request's options make the positions of a picture of its size."""
    return rope.plan_positions(request.options, model.info.trained_side, size_to_render(model, request))


def choices(model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]:
    """What was chosen for this size where the user left it open."""
    return rope.automatic_choice(request.options, positions(model, request), size_to_render(model, request))


def denoise(
    model: LoadedModel,
    request: GenerationRequest,
    texts: Texts,
    canvas: Canvas,
    report: Report,
    is_cancelled: IsCancelled,
) -> torch.Tensor:
    """The clean latents (1, 16, height / 8, width / 8), normalised, in float32."""
    pipeline = over.pipeline_for(model.pipeline, model.info.pipeline, canvas)
    start, noise = _beginning(pipeline, request, canvas)
    before = noise
    # Here and not once a request: each picture of a batch may have a size of its own.
    rope.apply(pipeline.transformer, positions(model, request))
    control.follow(pipeline)

    budget = PreviewBudget(model.previewer)

    def after_step(pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal before
        if is_cancelled():
            raise Cancelled  # raised here, the pipeline neither goes on nor decodes
        after, place = tensors["latents"], (pipe.scheduler.begin_index or 0) + index
        guard.check_latents(after, index + 1)
        budget.report(
            lambda preview: report(Phase.STEPS, index + 1, preview),
            _preview(request, index + 1, before, after, pipe.scheduler.sigmas[place : place + 2]),
        )
        before = after
        rope.fade_to(pipe.transformer, float(pipe.scheduler.sigmas[place + 1]))
        return {}

    refine_once = request.options["speed.refine_once"] and not model.plan.dropout  # dropout: another text each step
    with (
        speed.refined_once(pipeline.transformer, refine_once),
        attention.seeded(model.plan, request.seed, model.device),
        over.encoding(pipeline.vae, texts.positive[0].dtype),
        control.in_step(pipeline, request.options, request.num_inference_steps),
    ):
        result = pipeline(
            height=canvas.size[1],
            width=canvas.size[0],
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            cfg_normalization=request.options["guidance.normalization"],
            cfg_truncation=request.options["guidance.truncation"],
            prompt_embeds=texts.positive,
            negative_prompt_embeds=texts.negative,
            output_type="latent",
            callback_on_step_end=after_step,
            **start,
            **control.given(model.info, request.options, canvas),
        )
    latents: torch.Tensor = result.images
    return latents


def _beginning(pipeline: Any, request: GenerationRequest, canvas: Canvas) -> tuple[dict[str, Any], torch.Tensor | None]:
    """What the pipeline begins with: noise (given for the preview), or the picture and what will make the noise.

    The noise is drawn on the CPU, so that every device draws the same.
    """
    generator = torch.Generator("cpu").manual_seed(request.seed)
    if canvas.image is not None:
        return {"generator": generator, **over.given(canvas)}, None
    channels, device = pipeline.transformer.in_channels, pipeline._execution_device
    noise = pipeline.prepare_latents(1, channels, canvas.size[1], canvas.size[0], torch.float32, device, generator)
    return {"latents": noise}, noise


def _preview(
    request: GenerationRequest, step: int, before: torch.Tensor | None, after: torch.Tensor, sigmas: torch.Tensor
) -> Callable[[Previewer], bytes] | None:
    """What draws the preview after this step, from 1; None where none is wanted.

    Nor is there one after the first step over a picture, whose beginning nobody has seen.
    """
    if before is None or not request.options["preview.enabled"] or step % request.options["preview.every"]:
        return None
    return lambda previewer: previewer.draw(before, after, *sigmas.tolist())


def to_pixels(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(1, 16, h, w) normalised latents -> (1, 3, 8 h, 8 w) of -1 to 1, in the pipeline's own order of operations."""
    scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    pixels: torch.Tensor = vae.decode(scaled, return_dict=False)[0]
    return pixels


def effective(model: LoadedModel, request: GenerationRequest) -> dict[str, Any]:
    """What was really in effect: every option, resolved, and what the request does not hold."""
    tiles = tiling.wanted_tiles(request.options)
    return {
        **request.options,
        "model.device": model.device,
        "model.dtype": model.dtype,
        **model.effective,
        "model.fingerprint": model.fingerprint,
        "model.load_seconds": round(model.load_seconds, 3),
        "scheduler": type(model.pipeline.scheduler).__name__,
        "scheduler.shift": effective_shift(model, request.options),
        **control.effective(model.info, request.options),
        "transformer.rope": positions(model, request).record,
        "vae.tiles": tiles.record,
        "versions": dict(model.versions),
    }


def effective_shift(model: LoadedModel, options: Mapping[str, Any]) -> float:
    """The scheduler's shift: as asked, or the model's own."""
    wanted = options["scheduler.shift"]
    return float(model.pipeline.scheduler.config.shift if wanted == AUTO else wanted)
