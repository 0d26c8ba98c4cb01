"""Retry a job whose image is broken in the next higher precision, as long as there is one that fits.

Decoding again in float32 comes first and is done where decoding is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.typed_settings import Options
from core.errors import CorruptImageError
from core.i18n import localize
from core.inference import memory, precision
from core.inference.load_choices import COMPONENTS
from core.inference.pipeline_loader import LoadedModel, fits
from core.inference.precision import next_dtypes
from core.types import Decision, GenerationRequest


class PrecisionFallback:
    """The precision of one job: as requested at first, one step higher after each `next`."""

    def __init__(self, request: GenerationRequest) -> None:
        self.options: Mapping[str, Any] = request.options
        self.decisions: tuple[Decision, ...] = ()

    def next(self, model: LoadedModel, broken: CorruptImageError) -> None:
        """Use the next higher precision, or raise `broken` with the remedy for the user."""
        if not Options(self.options).precision.auto_retry:
            raise precision.with_cure(broken, "off") from broken
        native = model.device == "cpu" or memory.hardware(model.device).bfloat16  # a CPU imitates it at worst
        higher = next_dtypes(model.dtypes, native)
        if higher is None:
            raise precision.with_cure(broken, "weights") from broken
        if not fits(model.info, higher, model.device):
            raise precision.with_cure(broken, "memory") from broken
        changed = {f"{component}.dtype": higher[component] for component in COMPONENTS}
        self.options = {**self.options, **changed, "model.dtype": higher["transformer"]}
        self.decisions += (
            Decision("model.dtype", model.dtypes["transformer"], higher["transformer"], _reason(broken)),
        )


def _reason(broken: CorruptImageError) -> Mapping[str, str]:
    words = localize("inference.precision_fallback.the_gave_at_step_so_the")
    return {
        language: sentence.format(**{name: broken.localized(name, language) for name in ("component", "value", "step")})
        for language, sentence in words.items()
    }
