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

from core.errors import OutOfMemoryError
from core.model import memory, offload, tiers
from core.model.catalog import Catalog
from core.model.loader import RELOAD_OPTIONS, LoadedModel, NoRoomError, load_model
from core.model.render import IsCancelled, effective_shift, encode, render
from core.model.tuning import rope, tiling
from core.types import GenerationRequest, GenerationResult, Phase, Picture, Progress

log = logging.getLogger(__name__)

OnProgress = Callable[[Progress], None]
OnPicture = Callable[[Picture], None]


def build_generator(configs: Path) -> Generator:
    """The generator over the catalogue in `configs`."""
    return Generator(Catalog(configs))


class Generator:
    """Keeps one model loaded; loads another, or the same one again, when a request needs it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._loaded: LoadedModel | None = None
        self._loaded_for: tuple[Any, ...] | None = None
        self._failed: tuple[tuple[Any, ...], str] | None = None  # what ran out of memory, and at which tier

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
        self._loaded = load_model(self._catalog.find(model), options, failed)
        self._loaded_for = wanted
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
        made: Collection[int] = (),
    ) -> GenerationResult:
        """All pictures of a complete request (seed >= 0) but those of the seeds in `made`.

        `on_picture` gets each as soon as it is finished; the result then holds none, as there may be thousands.

        Raises Cancelled within one step of `is_cancelled()` turning true, BrokenPictureError, OutOfMemoryError, ModelError.
        """
        pictures: list[Picture] = []
        done = set(made)

        def deliver(picture: Picture) -> None:
            (on_picture or pictures.append)(picture)
            done.add(picture.request.seed)

        try:
            self._render_all(request, on_progress, is_cancelled, deliver, done)
        except torch.OutOfMemoryError as error:
            lower = self._go_lower(request, error)
        else:
            return GenerationResult(tuple(pictures))
        if not lower:  # outside of the handler: there, the traceback would keep the tensors that filled the memory
            raise self._out_of_memory(request)
        try:
            self._render_all(request, on_progress, is_cancelled, deliver, done)
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory(request) from error
        return GenerationResult(tuple(pictures))

    def _go_lower(self, request: GenerationRequest, error: torch.OutOfMemoryError) -> bool:
        """Unload what ran out of memory and remember to load it one tier lower; False when there is none.

        It is remembered until other options are asked for: the next picture would run out of memory again.
        """
        if isinstance(error, NoRoomError):
            tier, device = error.tier, error.device
        elif self._loaded is not None:
            tier, device = self._loaded.plan.tier.name, self._loaded.device
        else:
            return False
        self.unload()
        self._failed = (_load_key(request.model, request.options), tier)
        log.warning("out of memory on %s at tier %s", device, tier)
        return tiers.has_below(tier, memory.machine(device, None))

    def _out_of_memory(self, request: GenerationRequest) -> OutOfMemoryError:
        device = self._loaded.device if self._loaded else "cuda" if torch.cuda.is_available() else "cpu"
        memory.free_unused(device)
        return OutOfMemoryError(device=device, width=request.width, height=request.height)

    def _render_all(
        self,
        request: GenerationRequest,
        on_progress: OnProgress,
        is_cancelled: IsCancelled,
        deliver: OnPicture,
        done: Collection[int],
    ) -> None:
        model = self.load(request.model, request.options, on_progress)
        options = {**request.options, **model.plan.implied}
        _apply_live_options(model, options)
        on_progress(Progress(Phase.TEXT, steps=request.num_inference_steps, images=request.num_images))
        with torch.inference_mode():
            texts = encode(model, request)
            for k, single in enumerate(request.singles(), start=1):
                if single.seed in done:
                    continue
                report = _Reporter(on_progress, request, k)
                picture = render(model, replace(single, options=options), texts, report, is_cancelled)
                deliver(replace(picture, request=single))
                if options["memory.empty_cache"]:
                    memory.free_unused(model.device)


def _load_key(model: str, options: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides whether the model in memory will do."""
    return (model, *(options[key] for key in RELOAD_OPTIONS))


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
