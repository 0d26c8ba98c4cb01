"""Stable Diffusion 1.5 and XL: text, noise and steps, latents to pixels; `render` is the frame around it.

Guidance is counted from 0 in the studio, as Z-Image does, and from 1 in these pipelines: theirs is ours plus 1.
With every option at its neutral value the pixels are those of plain diffusers, bit for bit.
What this module does not know: the other pictures of the request, files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from core.config.options import SCHEMA
from core.errors import Cancelled
from core.model import control, guard, over
from core.model.canvas import Canvas
from core.model.families import SD, SDXL, SDXL_CONTROL
from core.model.loader import LoadedModel
from core.model.render import IsCancelled, Report, Texts
from core.model.tuning import tiling
from core.types import Decision, GenerationRequest, Phase

PIPELINES = (SD, SDXL, SDXL_CONTROL)
TOKENS = 77  # of CLIP, begin and end included
NAMES = ("prompt_embeds", "pooled_prompt_embeds")  # of what the pipelines take; SD has the first alone


def apply_live_options(model: LoadedModel, request: GenerationRequest) -> None:
    """Bring the loaded pipeline to what the options say, whatever the request before it had."""
    tiling.apply(model.pipeline.vae, tiling.wanted_tiles(request.options))


def encode(model: LoadedModel, request: GenerationRequest) -> Texts:
    """`positive` and `negative` are [tokens] for SD and [tokens, pooled] for XL."""
    guided = request.guidance_scale > 0
    found = model.pipeline.encode_prompt(
        prompt=request.prompt,
        device=model.pipeline._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=guided,
        negative_prompt=request.negative_prompt or None,  # XL makes another thing of none than of an empty one
    )
    found = [tensor.to(model.pipeline.unet.dtype) if tensor is not None else None for tensor in found]
    guard.check_texts([tensor for tensor in found if tensor is not None])
    positive, negative = list(found[0::2]), list(found[1::2])  # XL: positive, negative, pooled, negative pooled
    return Texts(positive, negative if guided else None, _cut_off(model, request))


def _cut_off(model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]:
    """Says so when the prompt was longer than CLIP reads: upstream cuts it and only logs it."""
    tokens = len(model.pipeline.tokenizer(request.prompt, truncation=False).input_ids)
    if tokens <= TOKENS:
        return ()
    reason = {
        "en": f"the prompt has {tokens} tokens; what follows the first {TOKENS} was not read",
        "zh": f"提示词有 {tokens} 个 token；前 {TOKENS} 个之后的内容未被读取",
    }
    return (Decision("generation.prompt", tokens, TOKENS, reason),)


def denoise(
    model: LoadedModel,
    request: GenerationRequest,
    texts: Texts,
    canvas: Canvas,
    report: Report,
    is_cancelled: IsCancelled,
) -> torch.Tensor:
    """The clean latents (1, 4, height / 8, width / 8), from noise that the CPU draws, so that every device draws the same."""

    def after_step(pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if is_cancelled():
            raise Cancelled  # raised here, the pipeline neither goes on nor decodes
        guard.check_latents(tensors["latents"], index + 1)
        report(Phase.STEPS, index + 1)
        return {}

    pipeline = over.pipeline_for(model.pipeline, model.info.pipeline, canvas)
    with over.encoding(pipeline.vae, texts.positive[0].dtype):
        result = pipeline(
            **_start(canvas),
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale + 1,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            output_type="latent",
            callback_on_step_end=after_step,
            **_embeddings(texts.positive, ""),
            **_embeddings(texts.negative or (), "negative_"),
            **control.given(model.info, request.options, canvas),
        )
    latents: torch.Tensor = result.images
    return latents


def _start(canvas: Canvas) -> dict[str, Any]:
    """The size to draw, or the picture to draw over: from a picture alone these pipelines take the size, too."""
    size = (
        {} if canvas.image is not None and canvas.mask is None else {"width": canvas.size[0], "height": canvas.size[1]}
    )
    return {**size, **over.given(canvas)}


def _embeddings(tensors: Sequence[torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in zip(NAMES, tensors, strict=False)}


def to_pixels(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(1, 4, h, w) latents -> (1, 3, 8 h, 8 w) of -1 to 1, as the pipelines do it.

    XL's VAE overflows in float16 (`force_upcast`), so it is widened meanwhile.
    """
    widen = vae.dtype == torch.float16 and vae.config.force_upcast
    if widen:
        vae.to(torch.float32)
    try:
        pixels: torch.Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
    finally:
        if widen:
            vae.to(torch.float16)
    return pixels


def effective(model: LoadedModel, request: GenerationRequest) -> dict[str, Any]:
    """What was really in effect: every option that can act, resolved, and what the request does not hold."""
    known = {**request.options, "model.device": model.device, "model.dtype": model.dtype, **model.effective}
    return {
        **{key: value for key, value in known.items() if key not in model.info.cannot},
        **control.effective(model.info, request.options),
        "model.fingerprint": model.fingerprint,
        "model.load_seconds": round(model.load_seconds, 3),
        "model.pipeline": model.info.pipeline,
        "scheduler": type(model.pipeline.scheduler).__name__,
        "versions": dict(model.versions),
    }


def choices(model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]:
    """Options that were set and do nothing for this model: the record says so. Of the tier's own, loading has said it."""
    cannot = model.info.cannot
    return tuple(
        Decision(key, value, SCHEMA.options[key].default, cannot[key])
        for key, value in request.options.items()
        if key in cannot and key not in model.held.implied and value != SCHEMA.options[key].default
    )
