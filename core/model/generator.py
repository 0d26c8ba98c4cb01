"""One verb: a request becomes pictures, on a pipeline that stays loaded between calls.

With every option at its neutral value the pixels are those of plain diffusers, bit for bit. Pictures of a batch are rendered one
by one, so that picture k is exactly the one that its seed makes alone.
What this module does not know: queues, files of pictures, databases, pages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.config.layers import Settings
from core.config.loras import uses_of
from core.config.options import SCHEMA
from core.errors import BrokenPictureError, OutOfMemoryError
from core.model import adapters, memory, offload, passes, render, stable, tiers, z_image
from core.model.canvas import Inputs
from core.model.catalog import Catalog
from core.model.ladder import Ladder
from core.model.live import tune
from core.model.loader import RELOAD_OPTIONS, LoadedModel, NoRoomError, Read, load_model
from core.model.lora_files import FOLDER as LORA_FOLDER
from core.model.lora_files import LoraFiles, lora_files
from core.model.places import places_of_values
from core.model.reading import read_pipeline
from core.model.render import IsCancelled
from core.model.sizes import check_sides
from core.model.tuning import tiling
from core.types import (
    FIRST_ATTEMPT,
    IMAGE,
    Attempt,
    Decision,
    GenerationRequest,
    GenerationResult,
    Phase,
    Picture,
    Progress,
)

log = logging.getLogger(__name__)

OnProgress = Callable[[Progress], None]
OnPicture = Callable[[Picture], None]


def build_generator(configs: Path, values: Mapping[str, Any] | None = None) -> Generator:
    """The generator over the catalogue in `configs`; `values` are the settings, which say where models are kept."""
    if values is None:
        return Generator(Catalog(configs))
    settings = Settings(values=values, origins={}, configs=configs)
    return Generator(Catalog(configs, places_of_values(configs, values)), loras=lora_files(settings))


class Generator:
    """Keeps one model loaded; loads another, or the same one again, when a request needs it."""

    def __init__(self, catalog: Catalog, read: Read = read_pipeline, loras: LoraFiles | None = None) -> None:
        """`read` stands in for the reading of weights, where these are made up. LoRAs lie beside the models by default."""
        self._catalog = catalog
        self._loras = loras or LoraFiles(catalog.places.store / LORA_FOLDER)
        self._read = read
        self._failed: tuple[tuple[Any, ...], str] | None = None  # what ran out of memory, and at which tier
        self._loaded: LoadedModel | None = None
        self._loaded_for: tuple[Any, ...] | None = None
        self._load_decisions: tuple[Decision, ...] = ()

    @property
    def loaded(self) -> LoadedModel | None:
        """The model in memory."""
        return self._loaded

    def load(self, model: str, options: Mapping[str, Any], on_progress: OnProgress) -> LoadedModel:
        """Have the model in memory as the options want it; the present one is freed first when they differ."""
        wanted = _load_key(model, options)
        if self._loaded is not None and self._loaded_for == wanted:
            return self._loaded
        on_progress(Progress(Phase.LOADING, detail=model))
        self.unload()
        failed = self._failed[1] if self._failed and self._failed[0] == wanted else None
        self._loaded = load_model(self._catalog.find(model), options, failed, self._read)
        self._loaded_for = wanted
        self._load_decisions = self._loaded.decisions
        return self._loaded

    def unload(self) -> None:
        """Free the present model."""
        device, blocks = (self._loaded.device, self._loaded.blocks) if self._loaded else ("cpu", None)
        self._loaded = self._loaded_for = None
        memory.free_unused(device)
        offload.remove(blocks)

    def generate(
        self,
        request: GenerationRequest,
        on_progress: OnProgress = lambda progress: None,
        is_cancelled: IsCancelled = lambda: False,
        on_picture: OnPicture | None = None,
        attempt: Attempt = FIRST_ATTEMPT,
    ) -> GenerationResult:
        """All pictures of a complete request (seed >= 0) but those that the attempt has made already.

        `on_picture` gets each as soon as it is finished; the result then holds none, as there may be thousands.

        Raises Cancelled within one step of `is_cancelled()` turning true, BrokenPictureError, OutOfMemoryError, ModelError.
        """
        request = _complete(request)
        info = self._catalog.find(request.model)
        for single in request.singles():
            check_sides(single.width, single.height, info.max_side, request.model)
            self._loras.check([use for use in uses_of(single) if use.weight], info)
        done = set(attempt.made)
        pictures: list[Picture] = []

        def keep(picture: Picture) -> None:
            (on_picture or pictures.append)(picture)
            done.add(picture.place)

        climb, lowered = Ladder(request), False
        while True:
            try:  # no name here for the loaded model: it would keep the old one while the next is read
                with torch.inference_mode():
                    self._render_all(
                        self.load(request.model, climb.options, on_progress),
                        request, climb.decisions, on_progress, is_cancelled, keep, done, attempt.inputs,
                    )  # fmt: skip
                return GenerationResult(tuple(pictures))
            except BrokenPictureError as broken:
                assert self._loaded is not None
                climb.next(self._loaded, broken)  # raises when there is nothing left to try
            except torch.OutOfMemoryError as error:
                device = self._loaded.device if self._loaded else getattr(error, "device", "cpu")
                if lowered or not self._go_lower(_load_key(request.model, climb.options), error):
                    memory.free_unused(device)
                    raise OutOfMemoryError(device=device, width=request.width, height=request.height) from error
                lowered = True

    def _go_lower(self, wanted: tuple[Any, ...], error: torch.OutOfMemoryError) -> bool:
        """Unload what ran out of memory and remember to load it one tier lower; False when there is none.

        It is remembered until other options are asked for: the next picture would run out of memory again.
        """
        if isinstance(error, NoRoomError):
            tier, device = error.tier, error.device
        elif self._loaded is not None:
            tier, device = self._loaded.held.tier.name, self._loaded.device
        else:
            return False
        log.warning("out of memory on %s at tier %s", device, tier)
        if not tiers.has_below(tier, memory.machine(device, None)):
            return False
        self.unload()
        self._failed = (wanted, tier)
        return True

    def _ready(
        self, model: LoadedModel, request: GenerationRequest, on_progress: OnProgress, why: tuple[Decision, ...]
    ) -> LoadedModel:
        """The loaded pipeline with the live options applied, whatever the picture before it had."""
        live = replace(request, options=_with_tier(model, request))
        if model.info.pipeline in stable.PIPELINES:
            stable.apply_live_options(model, live)
            self._loaded = replace(model, decisions=(*self._load_decisions, *why))
            return self._loaded
        _apply_live_options(model, live.options)
        tuned = tune(model, request, (*self._load_decisions, *why), on_progress)
        self._loaded = replace(tuned, effective={**tuned.effective, **model.held.implied})
        return self._loaded

    def _render_all(
        self,
        plain: LoadedModel,
        request: GenerationRequest,
        why: tuple[Decision, ...],
        on_progress: OnProgress,
        is_cancelled: IsCancelled,
        keep: OnPicture,
        made: Collection[int],
        inputs: Inputs,
    ) -> None:
        texts, read = None, None
        artist: render.Artist = stable if plain.info.pipeline in stable.PIPELINES else z_image
        for k, asked in enumerate(request.singles(), start=1):
            if k in made:
                continue
            loras = adapters.wanted(uses_of(asked), self._loras, plain)
            single, notes = adapters.as_drawn(asked, loras)
            adapters.apply(plain, loras)
            plain = self._ready(plain, single, on_progress, why)
            model = adapters.described(plain, loras, notes)
            single = replace(single, options=_with_tier(model, single))
            words = (single.prompt, single.negative_prompt, single.guidance_scale > 0, loras)
            if texts is None or words != read:  # pictures that differ in their seed share what was read
                on_progress(Progress(Phase.TEXT, 0, single.num_inference_steps, k, request.num_images))
                texts, read = render.encode(artist, model, single), words
            steps = passes.all_steps(single, model.info.pipeline, IMAGE in inputs)
            report = _Reporter(on_progress, steps, k, request.num_images)
            picture = render.render(artist, model, single, render.Given(texts, inputs), report, is_cancelled)
            keep(replace(picture, request=asked, place=k))
            if asked.options["memory.empty_cache"]:
                memory.free_unused(model.device)


def _load_key(model: str, options: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides whether the model in memory will do."""
    return (model, *(options[key] for key in RELOAD_OPTIONS))


def _with_tier(model: LoadedModel, request: GenerationRequest) -> dict[str, Any]:
    """The request's options with what the tier switches on; the record keeps them as they were asked."""
    return {**request.options, **model.held.implied}


def _complete(request: GenerationRequest) -> GenerationRequest:
    """A request that was queued by an older version lacks the options that came since: they have their defaults."""
    defaults = {option.key: option.default for option in SCHEMA.request_options()}
    return replace(request, options={**defaults, **request.options})


class _Reporter:
    """Turns steps of picture `image` into Progress, with an estimate of the time left for the whole request."""

    def __init__(self, on_progress: OnProgress, steps: int, image: int, images: int) -> None:
        self._on_progress = on_progress
        self._steps = steps
        self._image = image
        self._images = images
        self._began = time.perf_counter()
        self._preview_step = 0

    def __call__(self, phase: Phase, step: int, preview: bytes | None = None) -> None:
        steps, images = self._steps, self._images
        left = (images - self._image) * steps + steps - step
        eta = (time.perf_counter() - self._began) / step * left if step else None
        if preview is not None:
            self._preview_step = step
        self._on_progress(
            Progress(phase, step, steps, self._image, images, eta, preview=preview, preview_step=self._preview_step)
        )


def _apply_live_options(model: LoadedModel, options: Mapping[str, Any]) -> None:
    """Bring the loaded pipeline to what the options say, whatever the request before it had."""
    tiling.apply(model.pipeline.vae, tiling.wanted_tiles(options))
    model.pipeline.scheduler.set_shift(z_image.effective_shift(model, options))
