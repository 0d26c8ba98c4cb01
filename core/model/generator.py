"""One verb: a request becomes pictures, on a pipeline that stays loaded between calls.

With every option at its neutral value the pixels are those of plain diffusers, bit for bit. Pictures of a batch are rendered one
by one, so that picture k is exactly the one that its seed makes alone.
What this module does not know: queues, files of pictures, databases, pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from core.errors import OutOfMemoryError
from core.model import memory, stable
from core.model import render as z_image
from core.model.catalog import Catalog
from core.model.loader import RELOAD_OPTIONS, LoadedModel, load_model
from core.model.places import places_of_values
from core.model.render import IsCancelled, effective_shift
from core.model.tuning import rope, tiling
from core.types import GenerationRequest, GenerationResult, Phase, Picture, Progress

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
        on_picture: OnPicture | None = None,
        made: Collection[int] = (),
    ) -> GenerationResult:
        """All pictures of a complete request (seed >= 0) but those of the seeds in `made`.

        `on_picture` gets each as soon as it is finished; the result then holds none, as there may be thousands.

        Raises Cancelled within one step of `is_cancelled()` turning true, BrokenPictureError, OutOfMemoryError, ModelError.
        """
        model = self.load(request.model, request.options, on_progress)
        if model.info.pipeline in stable.PIPELINES:
            stable.apply_live_options(model, request)
        else:
            _apply_live_options(model, request.options)
        try:
            with torch.inference_mode():
                return self._render_all(model, request, on_progress, is_cancelled, on_picture, made)
        except torch.OutOfMemoryError as error:
            memory.free_unused(model.device)
            raise OutOfMemoryError(device=model.device, width=request.width, height=request.height) from error

    def _render_all(
        self,
        model: LoadedModel,
        request: GenerationRequest,
        on_progress: OnProgress,
        is_cancelled: IsCancelled,
        on_picture: OnPicture | None,
        made: Collection[int],
    ) -> GenerationResult:
        on_progress(Progress(Phase.TEXT, steps=request.num_inference_steps, images=request.num_images))
        draw = stable if model.info.pipeline in stable.PIPELINES else z_image
        texts = draw.encode(model, request)
        pictures: list[Picture] = []
        deliver_one = on_picture or pictures.append
        for k, single in enumerate(request.singles(), start=1):
            if single.seed not in made:
                report = _Reporter(on_progress, request, k)
                deliver_one(draw.render(model, single, texts, report, is_cancelled))
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
    model.pipeline.scheduler.set_shift(effective_shift(model, options))
