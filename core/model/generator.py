"""One verb: a request becomes pictures, on a pipeline that stays loaded between calls.

With every option at its neutral value the pixels are those of plain diffusers, bit for bit. Pictures of a batch are rendered one
by one, so that picture k is exactly the one that its seed makes alone.
What this module does not know: queues, files of pictures, databases, pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.errors import BrokenPictureError, OutOfMemoryError
from core.model import memory, stable
from core.model import render as z_image
from core.model.catalog import Catalog
from core.model.ladder import Ladder
from core.model.live import tune
from core.model.loader import RELOAD_OPTIONS, LoadedModel, load_model
from core.model.places import places_of_values
from core.model.render import IsCancelled, effective_shift, positions
from core.model.sizes import check_sides
from core.model.tuning import rope, tiling
from core.types import Decision, GenerationRequest, GenerationResult, Phase, Picture, Progress

OnProgress = Callable[[Progress], None]
OnPicture = Callable[[Picture], None]


def build_generator(configs: Path, values: Mapping[str, Any] | None = None) -> Generator:
    """The generator over the catalogue in `configs`; `values` are the settings, which say where models are kept."""
    return Generator(Catalog(configs, None if values is None else places_of_values(configs, values)))


class Generator:
    """Keeps one model loaded; loads another, or the same one again, when a request needs it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._loaded: LoadedModel | None = None
        self._loaded_for: tuple[Any, ...] | None = None
        self._load_decisions: tuple[Decision, ...] = ()

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
        self._load_decisions = self._loaded.decisions
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
        on_picture: OnPicture | None = None,
        made: Collection[int] = (),
    ) -> GenerationResult:
        """All pictures of a complete request (seed >= 0) but those whose places (from 1) are in `made`.

        `on_picture` gets each as soon as it is finished; the result then holds none, as there may be thousands.

        Raises Cancelled within one step of `is_cancelled()` turning true, BrokenPictureError, OutOfMemoryError, ModelError.
        """
        check_sides(request.width, request.height, self._catalog.find(request.model).max_side, request.model)
        done = set(made)
        pictures: list[Picture] = []

        def keep(picture: Picture) -> None:
            (on_picture or pictures.append)(picture)
            done.add(picture.place)

        climb = Ladder(request)
        while True:
            model = self.load(request.model, climb.options, on_progress)
            try:
                with torch.inference_mode():
                    self._render_all(model, request, climb.decisions, on_progress, is_cancelled, keep, done)
                return GenerationResult(tuple(pictures))
            except BrokenPictureError as broken:
                climb.next(model, broken)  # raises when there is nothing left to try
            except torch.OutOfMemoryError as error:
                memory.free_unused(model.device)
                raise OutOfMemoryError(device=model.device, width=request.width, height=request.height) from error

    def _ready(
        self, model: LoadedModel, request: GenerationRequest, on_progress: OnProgress, why: tuple[Decision, ...]
    ) -> LoadedModel:
        """The loaded pipeline with the live options applied, whatever the picture before it had."""
        if model.info.pipeline in stable.PIPELINES:
            stable.apply_live_options(model, request)
            self._loaded = replace(model, decisions=(*self._load_decisions, *why))
            return self._loaded
        _apply_live_options(model, request)
        self._loaded = tune(model, request, (*self._load_decisions, *why), on_progress)
        return self._loaded

    def _render_all(
        self,
        model: LoadedModel,
        request: GenerationRequest,
        why: tuple[Decision, ...],
        on_progress: OnProgress,
        is_cancelled: IsCancelled,
        keep: OnPicture,
        made: Collection[int],
    ) -> None:
        texts, read = None, None
        draw = stable if model.info.pipeline in stable.PIPELINES else z_image
        for k, single in enumerate(request.singles(), start=1):
            if k in made:
                continue
            model = self._ready(model, single, on_progress, why)
            words = (single.prompt, single.negative_prompt, single.guidance_scale > 0)
            if texts is None or words != read:  # pictures that differ in their seed share what was read
                on_progress(Progress(Phase.TEXT, 0, single.num_inference_steps, k, request.num_images))
                texts, read = draw.encode(model, single), words
            report = _Reporter(on_progress, single.num_inference_steps, k, request.num_images)
            keep(replace(draw.render(model, single, texts, report, is_cancelled), place=k))


class _Reporter:
    """Turns steps of picture `image` into Progress, with an estimate of the time left for the whole request."""

    def __init__(self, on_progress: OnProgress, steps: int, image: int, images: int) -> None:
        self._on_progress = on_progress
        self._steps = steps
        self._image = image
        self._images = images
        self._began = time.perf_counter()

    def __call__(self, phase: Phase, step: int, preview: bytes | None = None) -> None:
        steps, images = self._steps, self._images
        left = (images - self._image) * steps + steps - step
        eta = (time.perf_counter() - self._began) / step * left if step else None
        self._on_progress(Progress(phase, step, steps, self._image, images, eta, preview=preview))


def _apply_live_options(model: LoadedModel, request: GenerationRequest) -> None:
    """Bring the loaded pipeline to what the options say, whatever the request before it had."""
    options = request.options
    rope.apply(model.pipeline.transformer, positions(model, request))
    tiling.apply(model.pipeline.vae, tiling.wanted_tiles(options))
    model.pipeline.scheduler.set_shift(effective_shift(model, options))
