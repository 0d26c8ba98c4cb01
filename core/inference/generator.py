"""Generate the images of a request with a pipeline that stays loaded between calls.

With every option at its neutral value the pixels are those of plain diffusers, bit for bit. Images of a batch are generated one
by one, so that image k is exactly the one that its seed makes alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from core.config.control_units import FILES as CONTROLNET_FILES
from core.config.loader import Settings
from core.config.lora_syntax import lora_specs_of
from core.config.options import SCHEMA
from core.config.prompt_weights import OFF, SYNTAX
from core.config.schema import AUTO
from core.config.typed_settings import Options
from core.errors import CorruptImageError, ModelError, OutOfMemoryError
from core.history import used_files
from core.i18n import localize
from core.inference import (
    clip_encoding,
    controlnet,
    hires,
    img2img,
    inpaint,
    latent_preview,
    lora_adapters,
    memory,
    memory_tiers,
    offload,
    precision,
    prompt_writer,
    residency,
    text_encoding,
    thread_spin,
    weight_checks,
)
from core.inference.control_networks import ControlNetworks, EstimatedMaps
from core.inference.img2img import Inputs
from core.inference.pipeline_loader import (
    RELOAD_OPTIONS,
    LoadedModel,
    NotEnoughMemoryError,
    Read,
    choose_device,
    load_model,
)
from core.inference.pipeline_reading import read_pipeline
from core.inference.precision_fallback import PrecisionFallback
from core.inference.progress import Reporter, now, part_of, summed
from core.inference.resolution import check_sides, deliver, size_to_render
from core.inference.step_state import StepStore
from core.inference.upscaling import Enlarger, Upscalers
from core.inference.weight_reading import LoadWatch
from core.models.catalog import Catalog
from core.models.embedding_library import FOLDER as EMBEDDING_FOLDER
from core.models.embedding_library import Embedding, EmbeddingLibrary
from core.models.families import backend_of
from core.models.families.backend import Backend, IsCancelled, OnProgress, PromptEmbeds, Report
from core.models.fingerprint import Checksums
from core.models.lora_library import FOLDER as LORA_FOLDER
from core.models.lora_library import LoraLibrary, lora_files
from core.models.model_paths import model_paths_of_values
from core.models.part_sources import files_of, gguf_in, weights_by_part
from core.models.upscaler_library import FOLDER as UPSCALER_FOLDER
from core.models.upscaler_library import UpscalerLibrary
from core.models.weight_files import file_state
from core.types import (
    FIRST_ATTEMPT,
    IMAGE,
    Decision,
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    ModelInfo,
    Phase,
    Progress,
    ResumeState,
)

log = logging.getLogger(__name__)

OnImage = Callable[[GeneratedImage], None]


def build_generator(configs: Path, values: Mapping[str, Any] | None = None) -> Generator:
    """Build the generator over the catalogue in `configs`; `values` are the settings, which say where models are kept."""
    thread_spin.start()
    if values is None:
        return Generator(Catalog(configs))
    settings = Settings(values=values, origins={}, configs=configs)
    catalog = Catalog(configs, model_paths_of_values(configs, values))
    return Generator(catalog, loras=lora_files(settings), prepares=settings.models.prepare == AUTO)


class Generator:
    """Keeps one model loaded; loads another, or the same one again, when a request needs it."""

    def __init__(
        self, catalog: Catalog, read: Read = read_pipeline, loras: LoraLibrary | None = None, prepares: bool = False
    ) -> None:
        """Create a generator without a model. `read` replaces the reading of weights in tests and benchmarks.

        With `prepares` large weights are written in the form in which they are used, and read from there the next time.
        """
        self._prepared_in = catalog.places.store if prepares else None
        self._catalog = catalog
        self._loras = loras or LoraLibrary(catalog.places.store / LORA_FOLDER)
        self._embeddings = EmbeddingLibrary(catalog.places.store / EMBEDDING_FOLDER)
        self._upscalers = Upscalers(UpscalerLibrary(catalog.places.store / UPSCALER_FOLDER))
        self._networks = ControlNetworks(catalog)
        self._read = read
        self._failed: tuple[tuple[Any, ...], str] | None = None  # what ran out of memory, and at which tier
        self._loaded: LoadedModel | None = None
        self._loaded_for: tuple[Any, ...] | None = None
        self._loaded_files: Stamps = ()  # of the weight files that it was read from
        self._load_decisions: tuple[Decision, ...] = ()

    @property
    def loaded(self) -> LoadedModel | None:
        """Return the model in memory."""
        return self._loaded

    def load(
        self,
        model: str,
        options: Mapping[str, Any],
        on_progress: OnProgress,
        is_cancelled: IsCancelled = lambda: False,
    ) -> LoadedModel:
        """Have the model in memory as the options want it and its files are; the present one is freed first when they differ.

        Raises Cancelled soon after `is_cancelled()` turns true; no model is in memory then.
        """
        wanted, info = _load_key(model, options), self._catalog.find(model)
        files = _stamps(info)
        if self._loaded is not None and self._loaded_for == wanted and files in ((), self._loaded_files):
            return self._loaded
        on_progress(Progress(Phase.LOADING, detail=model))
        self.unload()
        replaced = weight_checks.replaced(info, Checksums(self._catalog.places.store), [Path(file) for file, _ in files])
        failed = self._failed[1] if self._failed and self._failed[0] == wanted else None
        watch = LoadWatch(lambda read, total: on_progress(_reading(model, read, total)), is_cancelled)
        loaded = load_model(info, options, failed, self._read, watch, self._prepared_in)
        self._loaded = replace(loaded, decisions=(*loaded.decisions, *replaced))
        self._loaded_for, self._loaded_files = wanted, files
        if self._loaded.previewer is None:
            on_progress(Progress(Phase.LOADING, detail=f"{model}: preview"))
            self._loaded = latent_preview.with_previewer(self._loaded, self._catalog.places.store)
        self._load_decisions = self._loaded.decisions
        return self._loaded

    def unload(self) -> None:
        """Free the present model."""
        device, blocks = (self._loaded.device, self._loaded.blocks) if self._loaded else ("cpu", None)
        self._loaded = self._loaded_for = None
        self._networks.clear()
        memory.free_unused(device)
        offload.remove(blocks)

    def generate(
        self,
        request: GenerationRequest,
        on_progress: OnProgress = lambda progress: None,
        is_cancelled: IsCancelled = lambda: False,
        on_image: OnImage | None = None,
        attempt: ResumeState = FIRST_ATTEMPT,
    ) -> GenerationResult:
        """Generate all images of a complete request (seed >= 0) but those that the attempt has made already.

        `on_image` gets each as soon as it is finished; the result then holds none, as there may be thousands. A broken image
        is tried again in a higher precision, what runs out of memory at a smaller memory tier.

        Raises Cancelled within one step of `is_cancelled()` turning true, CorruptImageError, OutOfMemoryError, ModelError.
        """
        request = _complete(request)
        self._check(request)
        done = set(attempt.made)
        images: list[GeneratedImage] = []

        def keep(image: GeneratedImage) -> None:
            (on_image or images.append)(image)
            done.add(image.place)

        if Options(request.options).upscale.mode == hires.ENLARGE:
            self._enlarge(request, on_progress, is_cancelled, keep, done, attempt.inputs)
            return GenerationResult(tuple(images))
        fallback, lowered = PrecisionFallback(request), False
        while True:
            try:  # no name here for the loaded model: it would keep the old one while the next is read
                with torch.inference_mode():
                    self._generate_all(
                        self.load(request.model, fallback.options, on_progress, is_cancelled),
                        request, fallback.decisions, on_progress, is_cancelled, keep, done, attempt.inputs, attempt.folder,
                    )  # fmt: skip
                return GenerationResult(tuple(images))
            except CorruptImageError as broken:
                assert self._loaded is not None
                fallback.next(self._loaded, broken)  # raises when there is nothing left to try
            except torch.OutOfMemoryError as error:
                device = self._loaded.device if self._loaded else getattr(error, "device", "cpu")
                if lowered or not self._use_smaller_tier(_load_key(request.model, fallback.options), error):
                    memory.free_unused(device)
                    raise OutOfMemoryError(device=device, width=request.width, height=request.height) from error
                lowered = True

    def write_prompt(
        self,
        model: str,
        options: Mapping[str, Any],
        task: str,
        text: str,
        seed: int,
        on_progress: OnProgress,
        on_text: Callable[[str], None],
        is_cancelled: IsCancelled,
    ) -> str:
        """Return a prompt that the text encoder of a model made of `text`; the model is loaded if it is not."""
        pipeline = self.load(model, options, on_progress, is_cancelled).pipeline
        try:
            return prompt_writer.write(pipeline, task, text, seed, on_text, is_cancelled)
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(device=str(pipeline._execution_device), width=0, height=0) from error

    def _enlarge(
        self,
        request: GenerationRequest,
        on_progress: OnProgress,
        is_cancelled: IsCancelled,
        keep: OnImage,
        made: Collection[int],
        inputs: Inputs,
    ) -> None:
        """Enlarge the source image for each image that is not `made`. No model is loaded."""
        device = str(choose_device(Options(request.options).model.device, request.model).effective)
        for k, asked in enumerate(request.per_image_requests(), start=1):
            if k in made:
                continue
            report = Reporter(on_progress, 1, k, request.num_images)
            enlarge = Enlarger(self._upscalers, asked.options, device, is_cancelled, report)
            began = time.perf_counter()
            image = enlarge(img2img.required(inputs), (asked.width, asked.height), "upscale.method")
            seconds = time.perf_counter() - began
            effective = {**enlarge.used, "model.device": device, "upscale.mode": hires.ENLARGE}
            keep(GeneratedImage(image, asked, image.size, {"upscale": seconds}, effective, place=k))

    def _check(self, request: GenerationRequest) -> None:
        """Raise for sizes and LoRAs that the model can't take, before anything is loaded."""
        info = self._catalog.find(request.model)
        for single in request.per_image_requests():
            if not inpaint.is_partial(single):
                check_sides(single.width, single.height, info.max_side, request.model)
            self._loras.check([use for use in lora_specs_of(single) if use.acts], info)
            self._embeddings.named_in((single.prompt, single.negative_prompt), info.pipeline)

    def _use_smaller_tier(self, wanted: tuple[Any, ...], error: torch.OutOfMemoryError) -> bool:
        """Unload what ran out of memory and remember to load it one tier lower; False when there is none.

        It is remembered until other options are asked for: the next image would run out of memory again.
        """
        if isinstance(error, NotEnoughMemoryError):
            tier, device = error.tier, error.device
        elif self._loaded is not None:
            tier, device = self._loaded.held.tier.name, self._loaded.device
        else:
            return False
        log.warning("out of memory on %s at tier %s", device, tier)
        if not memory_tiers.has_below(tier, memory.machine(device, None)):
            return False
        self.unload()
        self._failed = (wanted, tier)
        return True

    def _generate_all(
        self,
        plain: LoadedModel,
        request: GenerationRequest,
        why: tuple[Decision, ...],
        on_progress: OnProgress,
        is_cancelled: IsCancelled,
        keep: OnImage,
        made: Collection[int],
        inputs: Inputs,
        folder: Path | None,
    ) -> None:
        """Generate each image that is not `made`: options and LoRAs first, then `generate_image`."""
        embeds, encoded = None, None
        for k, asked in enumerate(request.per_image_requests(), start=1):
            if k in made:
                continue
            loras = lora_adapters.wanted(lora_specs_of(asked), self._loras, plain)
            single, notes = lora_adapters.as_drawn(asked, loras)
            lora_adapters.apply(plain, loras)
            plain, controlled = self._with_options(plain, single, on_progress, why)
            backend = backend_of(controlled.info.pipeline)
            model = lora_adapters.described(controlled, loras, notes)
            single = replace(single, options=_with_tier(model, single))
            # 1. Encode: images that differ in their seed share the prompt embeds.
            named = self._embeddings.named_in((single.prompt, single.negative_prompt), model.info.pipeline)
            files = clip_encoding.recorded_embeddings(named)
            model = replace(model, effective={**model.effective, **files})
            seen = (single.width, single.height, single.options) if backend.family.needs else ()  # by a text encoder
            prompts = (single.prompt, single.negative_prompt, single.guided, loras, files, seen)
            if embeds is None or prompts != encoded:
                progress = Progress(Phase.TEXT, 0, single.num_inference_steps, k, request.num_images)
                embeds = _encode(backend, model, single, named, inputs, progress, on_progress, is_cancelled)
                encoded = prompts
            controlnet.check_images(single.options, inputs)
            steps = hires.all_steps(single, model.info.pipeline, IMAGE in inputs)
            report = Reporter(on_progress, steps, k, request.num_images)
            states = StepStore(folder, k)
            enlarge = Enlarger(self._upscalers, single.options, model.device, is_cancelled)
            estimate = self._networks.estimator(model.device)
            image = generate_image(backend, model, single, embeds, inputs, report, is_cancelled, states, enlarge, estimate)
            keep(replace(image, request=asked, place=k))
            states.remove()
            if Options(asked.options).memory.empty_cache:
                memory.free_unused(model.device)

    def _with_options(
        self, plain: LoadedModel, request: GenerationRequest, on_progress: OnProgress, why: tuple[Decision, ...]
    ) -> tuple[LoadedModel, LoadedModel]:
        """Return the loaded model with the live options applied, whatever the image before it had; alone, and with the
        ControlNets of the request."""
        model = self._networks.attached(plain, request.options)
        live = replace(request, options=_with_tier(model, request))
        backend = backend_of(model.info.pipeline)
        tuned = backend.apply_options(model, live, (*self._load_decisions, *why), on_progress)
        tuned = replace(tuned, effective={**tuned.effective, **model.held.implied})
        alone = {key: value for key, value in tuned.effective.items() if key != CONTROLNET_FILES}
        self._loaded = replace(tuned, info=plain.info, pipeline=plain.pipeline, effective=alone)
        return self._loaded, tuned


def _reading(model: str, read: int, total: int) -> Progress:
    return Progress(Phase.LOADING, detail=model, read_bytes=read, total_bytes=total)


# -- one image ---------------------------------------------------------------------------------------------------------


def generate_image(
    backend: Backend,
    model: LoadedModel,
    request: GenerationRequest,
    embeds: PromptEmbeds,
    inputs: Inputs,
    report: Report,
    is_cancelled: IsCancelled,
    states: StepStore,
    enlarge: Enlarger,
    estimate: EstimatedMaps,
) -> GeneratedImage:
    """Generate one image from its prompt embeds: `_run_pass` for each of its passes, over the image of the one before."""
    memory.start_peak(model.device)
    stages, passes, image = hires.of(request), list[_PassResult](), None
    if request.options["upscale.mode"] == hires.DETAIL:
        inputs = {**inputs, IMAGE: enlarge(img2img.required(inputs), (request.width, request.height), "upscale.method")}
    from_image, source = IMAGE in inputs, inpaint.prepare(inputs, request)
    for run, stage in enumerate(stages):
        before = sum(one.steps for one in passes)
        steps = hires.steps_of(stage, model.info.pipeline, from_image)
        image, done = _run_pass(
            backend,
            model,
            stage,
            embeds,
            source,
            image,
            part_of(report, before, steps),
            is_cancelled,
            states,
            run,
            final=run == len(stages) - 1,
            enlarge=enlarge,
            estimate=estimate,
        )
        passes.append(done)
    assert image is not None  # an image that is only enlarged has no passes, and does not come here
    final, asked = passes[-1], stages[-1].request
    repaired = tuple(decision for one in passes for decision in one.repaired)
    # 7. Deliver with the record of what was in effect.
    return GeneratedImage(
        image=image,
        request=request,
        rendered_size=final.size,
        timings={"text": embeds.seconds, **summed([one.timings for one in passes])},
        effective={
            **backend.effective(model, asked),
            **hires.record(request, model.info.pipeline, from_image, passes[0].size),
            **_regions([one for one in passes if one.box]),
            **_resumed(passes),
            **enlarge.used,
            **estimate.used,
            **{decision.option: decision.effective for decision in repaired},
        },
        decisions=(
            *model.decisions,
            *embeds.decisions,
            *backend.decisions(model, asked),
            *_unused_negative(request),
            *repaired,
        ),
        peak_memory_bytes=memory.read_peak(model.device),
    )


@dataclass(frozen=True)
class _PassResult:
    """Facts about one pass: the size it was rendered at, the steps that were run.

    `box` is the part of the image that was rendered, "" for all of it. There may be hundreds: none keeps its image.
    """

    size: tuple[int, int]
    steps: int
    timings: Mapping[str, float]
    repaired: tuple[Decision, ...]
    box: str = ""
    resumed_at: int = 0  # evaluations of the model that an earlier attempt had made


def _regions(passes: Sequence[_PassResult]) -> dict[str, Any]:
    """Return for the record which parts were generated by themselves, and at which size."""
    found = [f"{one.box}: {one.size[0]}x{one.size[1]}" for one in passes]
    return {"inpaint.regions": found} if found else {}


def _resumed(passes: Sequence[_PassResult]) -> dict[str, Any]:
    """Return for the record how many evaluations of the model in each pass were an earlier attempt's."""
    found = [one.resumed_at for one in passes]
    return {"resume.resumed_at": found} if any(found) else {}


def _run_pass(
    backend: Backend,
    model: LoadedModel,
    stage: hires.Pass,
    embeds: PromptEmbeds,
    source: inpaint.Source,
    last: Image.Image | None,
    report: Report,
    is_cancelled: IsCancelled,
    states: StepStore,
    run: int,
    final: bool,
    enlarge: Enlarger,
    estimate: EstimatedMaps,
) -> tuple[Image.Image, _PassResult]:
    """Run one pass, over the image of the `last` one where there is one, or over a region of it.

    Return the image at the requested size, and the facts about the pass.
    """
    began, inputs = time.perf_counter(), source.inputs
    region = inpaint.region_of(source, last, stage.request, model.info, stage.box)
    request = stage.request if region is None else region.request_of(stage.request)
    asked, size = (request.width, request.height), size_to_render(model.info, request)
    resize = not request.options["force_original_resolution"]
    if (parts := residency.of(model.pipeline)) is not None:
        parts.plan_for(size[0] * size[1])
    # 2. Prepare latents: noise alone, or noise and the image to start from.
    start = inputs if region is None else region.source.inputs
    if stage.over_last and last is not None:
        start = {**start, IMAGE: enlarge(last, (request.width, request.height), "hires.upscaler")}
    canvas = img2img.prepare(start, asked, size, resize, stage.strength)
    canvas = controlnet.with_maps(backend.family.controlnet, request.options, canvas, estimate)
    latents = backend.prepare_latents(model, request, embeds, canvas)
    # 3. Denoise, from where an earlier attempt was stopped.
    state = states.keeper(run, request, _identity(model))
    clean = backend.denoise(model, request, embeds, replace(latents, keeper=state), report, is_cancelled)
    if not final:
        state.save()  # so that an attempt that is stopped in the next pass does not repeat this one
    denoised = now(model.device)
    # 4. Decode, and 5. check.
    steps = hires.steps_of(stage, model.info.pipeline, IMAGE in inputs)
    report(Phase.DECODE, steps)
    image, repaired = _decode(backend, model, request, clean)
    repaired = (*state.decisions, *repaired)
    # 6. Fit to the requested size, and into the input image outside of a mask.
    image = inpaint.paste(deliver(image, *asked, resize), source, region)
    timings = {"steps": denoised - began, "decode": time.perf_counter() - denoised}
    return image, _PassResult(size, steps, timings, repaired, str(region.box) if region else "", state.skipped)


def _identity(model: LoadedModel) -> dict[str, str]:
    """Return what of the model, the files beside it and its place a stored state depends on."""
    dtypes = ", ".join(f"{part} {dtype}" for part, dtype in sorted(model.dtypes.items()))
    weights = {f"{used_files.WEIGHTS}.{part}": digest for part, digest in model.weight_hashes.items()}
    files = {**weights, **used_files.hashes(model.effective)}
    return {"model": model.fingerprint, "device": model.device, "dtypes": dtypes, **files}


def _encode(
    backend: Backend,
    model: LoadedModel,
    request: GenerationRequest,
    embeddings: Sequence[Embedding],
    inputs: Inputs,
    progress: Progress,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
) -> PromptEmbeds:
    """Encode the prompts with `progress` reported, and the layer as its detail. Raises Cancelled between layers."""
    began = time.perf_counter()
    on_progress(progress)

    def on_layer(layer: int, layers: int) -> None:
        on_progress(replace(progress, detail=f"{layer} / {layers}"))

    encoders = offload.text_encoders(model.pipeline).values()
    with (
        clip_encoding.with_embeddings(model.pipeline, request, embeddings) as tokenized,
        text_encoding.watched(encoders, on_layer, is_cancelled),
    ):
        embeds = backend.encode(model, tokenized, inputs)
    decisions = (*embeds.decisions, *clip_encoding.embedding_decisions(embeddings))
    return replace(embeds, decisions=decisions, seconds=now(model.device) - began)


def _decode(
    backend: Backend, model: LoadedModel, request: GenerationRequest, latents: torch.Tensor
) -> tuple[Image.Image, tuple[Decision, ...]]:
    """Decode by the decoder that is wanted; a broken image of the VAE once more in float32, with a decision that says so."""
    step = request.num_inference_steps
    wants_tiny = Options(request.options).vae.decoder == TINY
    if wants_tiny and model.tiny_decoder is not None:
        return _decode_tiny(backend, model, request, latents), ()
    notes = _without_tiny(backend.family.tiny_decoder) if wants_tiny else ()
    try:
        return _decode_once(backend, model, latents, step), notes
    except CorruptImageError as broken:
        present = model.dtypes["vae"]
        if present == "float32" or not Options(request.options).precision.auto_retry:
            raise
        reason = {
            language: words.format(step=step, value=broken.localized("value", language), dtype=present)
            for language, words in _DECODED_AGAIN.items()
        }
    with precision.in_float32(model.pipeline.vae):
        return _decode_once(backend, model, latents, step), (*notes, Decision("vae.dtype", present, "float32", reason))


TINY = "tiny"  # of vae.decoder
_DECODED_AGAIN = localize("inference.generator.decoded_again")


def _decode_once(backend: Backend, model: LoadedModel, latents: torch.Tensor, step: int) -> Image.Image:
    """Decode by the VAE in the pipeline's own order of operations."""
    return _checked_image(model.pipeline, backend.decode(model.pipeline.vae, latents), step)


def _checked_image(pipeline: Any, pixels: torch.Tensor, step: int) -> Image.Image:
    """Return (1, 3, h, w) of -1 to 1 as an image, checked before and after rounding. Raises CorruptImageError."""
    precision.check_decoded(pixels, step)
    image: Image.Image = pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
    pipeline.maybe_free_model_hooks()
    precision.check_image(image, step)
    return image


def _without_tiny(name: str) -> tuple[Decision, ...]:
    """Say that the tiny decoder is not on this machine; of a family without one the option is listed as having no effect."""
    return (Decision("vae.decoder", TINY, "full", localize("inference.generator.no_tiny_decoder", name=name)),) if name else ()


def _decode_tiny(backend: Backend, model: LoadedModel, request: GenerationRequest, latents: torch.Tensor) -> Image.Image:
    """Decode by the tiny decoder, which takes latents as previews do."""
    pipeline, tiny = model.pipeline, model.tiny_decoder
    arranged = backend.preview_latents(pipeline.vae, latents, request)
    assert arranged is not None  # of a family that has a tiny decoder
    with torch.inference_mode():
        pixels = tiny.decode(arranged.to(tiny.device, tiny.dtype), return_dict=False)[0].float()
    return _checked_image(pipeline, pixels, request.num_inference_steps)


def _unused_negative(request: GenerationRequest) -> tuple[Decision, ...]:
    """Say that a negative prompt has no effect while CFG is off: diffusers ignores it without a word."""
    if not request.negative_prompt or request.guided:
        return ()
    reason = localize("inference.generator.the_cfg_scale_is_1_off")
    return (Decision("generation.negative_prompt", request.negative_prompt, "", reason),)


# -- options -----------------------------------------------------------------------------------------------------------


Stamps = tuple[tuple[str, tuple[int, int]], ...]  # path, and time and size, of weight files


def _stamps(info: ModelInfo) -> Stamps:
    """Return what tells whether the model's weight files are still what they were; () where they are not whole."""
    try:
        path, base, frame, parts = files_of(info)
        beside = gguf_in(base or path)
        files = [file for _, file in weights_by_part(path, base, frame, parts)] + ([beside] if beside else [])
        return tuple((str(file), file_state(file)) for file in files)
    except (ModelError, OSError):
        return ()


def _load_key(model: str, options: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what decides whether the model in memory will do."""
    return (model, *(options[key] for key in RELOAD_OPTIONS))


def _with_tier(model: LoadedModel, request: GenerationRequest) -> dict[str, Any]:
    """Return the request's options with what the tier switches on; the record keeps them as they were set."""
    return {**request.options, **model.held.implied}


def _complete(request: GenerationRequest) -> GenerationRequest:
    """Add options that did not exist in the version that queued the request: it read brackets as text."""
    defaults = {option.key: option.default for option in SCHEMA.request_options()} | {SYNTAX: OFF}
    return replace(request, options={**defaults, **request.options})
