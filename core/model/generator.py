"""One verb: a request becomes pictures, on a pipeline that stays loaded between calls.

With every option at its neutral value the pixels are those of plain diffusers, bit for bit. Pictures of a batch are rendered one
by one, so that picture k is exactly the one that its seed makes alone.
What this module does not know: queues, files of pictures, databases, pages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from core.config.schema import AUTO
from core.errors import Cancelled, OutOfMemoryError
from core.model import guard, memory
from core.model.catalog import Catalog
from core.model.loader import RELOAD_OPTIONS, LoadedModel, load_model
from core.model.preview import estimate_clean
from core.model.sizes import deliver, rendered_size
from core.model.tuning import rope, tiling
from core.types import Decision, GenerationRequest, GenerationResult, Phase, Picture, Progress

log = logging.getLogger(__name__)

OnProgress = Callable[[Progress], None]
OnPicture = Callable[[Picture], None]
IsCancelled = Callable[[], bool]


def build_generator(configs: Path) -> Generator:
    """The generator over the catalogue in `configs`."""
    return Generator(Catalog(configs))


@dataclass(frozen=True)
class _Texts:
    """Text embeddings of one request, and what was cut off."""

    positive: list[torch.Tensor]
    negative: list[torch.Tensor] | None
    seconds: float
    decisions: tuple[Decision, ...]


class Generator:
    """Keeps one model loaded; loads another, or the same one again, when a request needs it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._loaded: LoadedModel | None = None
        self._loaded_for: tuple[Any, ...] | None = None

    @property
    def loaded(self) -> LoadedModel | None:
        """The model in memory."""
        return self._loaded

    def load(self, model: str, options: Mapping[str, Any], on_progress: OnProgress) -> LoadedModel:
        """Have the model in memory as the options want it; the present one is freed first when they differ."""
        wanted = (model, *(options[key] for key in RELOAD_OPTIONS))
        if self._loaded is not None and self._loaded_for == wanted:
            return self._loaded
        on_progress(Progress(Phase.LOADING, detail=model))
        self.unload()
        self._loaded = load_model(self._catalog.find(model), options)
        self._loaded_for = wanted
        return self._loaded

    def unload(self) -> None:
        """Free the present model."""
        device = self._loaded.device if self._loaded else "cpu"
        self._loaded = self._loaded_for = None
        memory.free_unused(device)

    def generate(
        self,
        request: GenerationRequest,
        on_progress: OnProgress = lambda progress: None,
        is_cancelled: IsCancelled = lambda: False,
        on_picture: OnPicture = lambda picture: None,
    ) -> GenerationResult:
        """All pictures of a complete request (seed >= 0). `on_picture` gets each as soon as it is finished.

        Raises Cancelled within one step of `is_cancelled()` turning true, BrokenPictureError, OutOfMemoryError, ModelError.
        """
        model = self.load(request.model, request.options, on_progress)
        _apply_live_options(model, request.options)
        try:
            with torch.inference_mode():
                return self._render_all(model, request, on_progress, is_cancelled, on_picture)
        except torch.OutOfMemoryError as error:
            memory.free_unused(model.device)
            raise OutOfMemoryError(device=model.device, width=request.width, height=request.height) from error

    def _render_all(
        self,
        model: LoadedModel,
        request: GenerationRequest,
        on_progress: OnProgress,
        is_cancelled: IsCancelled,
        on_picture: OnPicture,
    ) -> GenerationResult:
        on_progress(Progress(Phase.TEXT, steps=request.num_inference_steps, images=request.num_images))
        texts = _encode(model, request)
        pictures = []
        for k, single in enumerate(request.singles(), start=1):
            report = _Reporter(on_progress, request, k)
            picture = _render(model, single, texts, report, is_cancelled)
            on_picture(picture)
            pictures.append(picture)
        return GenerationResult(tuple(pictures))


class _Reporter:
    """Turns steps of picture `image` into Progress, with an estimate of the time left for the whole request."""

    def __init__(self, on_progress: OnProgress, request: GenerationRequest, image: int) -> None:
        self._on_progress = on_progress
        self._request = request
        self._image = image
        self._began = time.perf_counter()

    def __call__(self, phase: Phase, step: int, preview: bytes | None = None) -> None:
        steps, images = self._request.num_inference_steps, self._request.num_images
        left = (images - self._image) * steps + steps - step
        eta = (time.perf_counter() - self._began) / step * left if step else None
        self._on_progress(Progress(phase, step, steps, self._image, images, eta, preview=preview))


def _apply_live_options(model: LoadedModel, options: Mapping[str, Any]) -> None:
    """Bring the loaded pipeline to what the options say, whatever the request before it had."""
    rope.apply(model.pipeline.transformer, options["transformer.use_rope"])
    tiling.apply(model.pipeline.vae, tiling.wanted_plan(options))
    model.pipeline.scheduler.set_shift(_shift(model, options))


def _shift(model: LoadedModel, options: Mapping[str, Any]) -> float:
    wanted = options["scheduler.shift"]
    return float(model.pipeline.scheduler.config.shift if wanted == AUTO else wanted)


def _encode(model: LoadedModel, request: GenerationRequest) -> _Texts:
    """Once a request: all its pictures share prompt and negative prompt."""
    began = time.perf_counter()
    limit = request.options["transformer.max_sequence_length"]
    positive, negative = model.pipeline.encode_prompt(
        [request.prompt],  # a fresh list: the pipeline writes its chat template into the one it gets
        device=model.pipeline._execution_device,
        do_classifier_free_guidance=request.guidance_scale > 0,
        negative_prompt=[request.negative_prompt],
        max_sequence_length=limit,
    )
    _wait(model.device)
    seconds = time.perf_counter() - began
    return _Texts(positive, negative or None, seconds, _cut_off(model, request, positive[0].shape[0], limit))


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


def _render(
    model: LoadedModel, request: GenerationRequest, texts: _Texts, report: _Reporter, is_cancelled: IsCancelled
) -> Picture:
    """One picture: noise, steps, decode, cut to size."""
    memory.start_peak(model.device)
    width, height = _rendered_size(model, request)
    began = time.perf_counter()
    latents = _denoise(model, request, texts, (width, height), report, is_cancelled)
    _wait(model.device)
    denoised = time.perf_counter()
    report(Phase.DECODE, request.num_inference_steps)
    image = _decode(model, latents, request.num_inference_steps)
    decoded = time.perf_counter()
    resize = not request.options["force_original_resolution"]
    return Picture(
        image=deliver(image, request.width, request.height, resize),
        request=request,
        rendered_size=(width, height),
        timings={"text": texts.seconds, "steps": denoised - began, "decode": decoded - denoised},
        effective=_effective(model, request),
        decisions=(*model.decisions, *texts.decisions, *_neutral_negative(request)),
        peak_memory_bytes=memory.read_peak(model.device),
    )


def _rendered_size(model: LoadedModel, request: GenerationRequest) -> tuple[int, int]:
    info = model.info
    native = None if request.options["force_original_resolution"] else info.default_width * info.default_height
    return rendered_size(request.width, request.height, info.size_multiple, native, info.max_side)


def _denoise(
    model: LoadedModel,
    request: GenerationRequest,
    texts: _Texts,
    size: tuple[int, int],
    report: _Reporter,
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

    def after_step(pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal before
        if is_cancelled():
            raise Cancelled  # raised here, the pipeline neither goes on nor decodes
        after = tensors["latents"]
        guard.check_latents(after, index + 1)
        report(Phase.STEPS, index + 1, _preview(model, request, before, after, index))
        before = after
        return {}

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


def _decode(model: LoadedModel, latents: torch.Tensor, step: int) -> Image.Image:
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
    tiles = tiling.wanted_plan(request.options)
    return {
        **request.options,
        "model.device": model.device,
        "model.dtype": model.dtype,
        "model.fingerprint": model.fingerprint,
        "scheduler": type(model.pipeline.scheduler).__name__,
        "scheduler.shift": _shift(model, request.options),
        "vae.tiles": None
        if tiles is None
        else {"sample": tiles.sample, "latent": tiles.latent, "overlap": float(tiles.overlap)},
        "versions": dict(model.versions),
    }


def _neutral_negative(request: GenerationRequest) -> tuple[Decision, ...]:
    """A negative prompt without guidance has no effect: upstream ignores it in silence, the record does not."""
    if not request.negative_prompt or request.guidance_scale > 0:
        return ()
    reason = {"en": "guidance is 0, so the negative prompt has no effect", "zh": "引导强度为 0，反向提示词不起作用"}
    return (Decision("generation.negative_prompt", request.negative_prompt, "", reason),)


def _wait(device: str) -> None:
    """Timings are true only when the card has finished what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()
