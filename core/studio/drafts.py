"""Live drafts: a small image of few steps that shows at once what a change will do. It is never stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from core.config.control_units import units_of
from core.config.loader import Settings
from core.config.schema import AUTO
from core.errors import UnavailableError
from core.i18n import localize
from core.jobs.supervisor import WorkerSupervisor
from core.jobs.worker_commands import DraftAnswer, DraftCommands
from core.models.catalog import Catalog
from core.remote.catalog import RemoteCatalog
from core.studio.request_builder import RequestBuilder
from core.types import IMAGE, GenerationRequest, ModelInfo

STEPS = 3  # of a draft, at most
LEAST_SIDE = 256  # pixels of a draft's longer side, at least, where the image is not smaller
STRENGTH = "img2img.denoising_strength"
UPSCALE = "upscale.mode"
SCALING, FACTOR = "transformer.rope_scaling", "transformer.rope_factor"
SEED = "generation.seed"
_PLAIN = {"hires.enabled": False, "preview.enabled": False, "resume.interval": 0, "vae.decoder": "tiny"}


class Drafts:
    """Asks the worker for drafts, between two jobs."""

    def __init__(
        self, settings: Settings, catalog: Catalog | RemoteCatalog, builder: RequestBuilder, worker: WorkerSupervisor
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._builder = builder
        self._worker = worker
        self._commands = DraftCommands(settings.output_directory)

    def problem(self) -> Mapping[str, str] | None:
        """Return why there can be no drafts with these settings; None if there can."""
        if self._settings.remote.url:
            return localize("studio.drafts.remote")
        return localize("studio.drafts.cluster") if self._settings.worker.executor == "ray" else None

    def ask(self, request: GenerationRequest, client: str) -> str:
        """Ask for a draft of a request, in the place of the client's previous one; return its id.

        Raises UnavailableError where there can be none, or while the worker leaves the GPU to others; InputError for a random
        seed, and whatever `RequestBuilder.prepare` raises.
        """
        if request.seed < 0:
            raise UnavailableError(key=SEED, value=request.seed, reason=localize("studio.drafts.seed"))
        if (mode := request.options.get(UPSCALE, "off")) != "off":
            raise UnavailableError(key=UPSCALE, value=mode, reason=localize("studio.drafts.upscale"))
        if reason := self.problem() or self._worker.status().yields_to:
            raise UnavailableError(key="model.id", value=request.model, reason=reason)
        draft = draft_of(request, self._catalog.find(request.model))
        return self._commands.ask(client, self._builder.prepare(draft))

    def answer(self, draft_id: str, client: str) -> DraftAnswer:
        """Return what became of a draft."""
        return self._commands.read(client, draft_id)

    def cancel(self, draft_id: str, client: str) -> None:
        """Stop a draft."""
        self._commands.cancel(client, draft_id)


def draft_of(request: GenerationRequest, model: ModelInfo) -> GenerationRequest:
    """Return the request of a draft: one image of few steps, no Hires. fix and no upscaling, with the same seed.

    Its longer side is half of what the model was trained on, at least LEAST_SIDE. An image with a source image or a control
    image, and one for which a RoPE scaling or factor is set, keeps its own size: what they do depends on it.
    """
    options = {**request.options, **_PLAIN}
    strength = float(options.get(STRENGTH, 1.0)) if IMAGE in request.inputs else 1.0
    steps = min(request.num_inference_steps, max(STEPS, math.ceil(1 / max(strength, 0.01))))
    width, height = request.width, request.height
    scaled = options.get(SCALING, AUTO) not in (AUTO, "none") or options.get(FACTOR, AUTO) != AUTO
    if not (scaled or request.inputs or units_of(options)):
        width, height = _smaller(width, height, model)
    return replace(
        request, width=width, height=height, num_inference_steps=steps, num_images=1, images=(), template="",
        negative_template="", original_prompt="", parent="", options=options,
    )  # fmt: skip


def _smaller(width: int, height: int, model: ModelInfo) -> tuple[int, int]:
    bound, multiple = max(LEAST_SIDE, model.trained_side // 2), model.size_multiple
    factor = min(1.0, bound / max(width, height))
    if factor == 1.0:
        return width, height
    return _scaled(width, factor, multiple), _scaled(height, factor, multiple)


def _scaled(side: int, factor: float, multiple: int) -> int:
    return max(multiple, multiple * round(side * factor / multiple))
