"""What is tried when a picture is broken: the whole job again in a higher precision, as long as there is one that fits.

Decoding again in float32, the first rung, is done where the decoding is (`render`).
What this module does not know: how a picture is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import BrokenPictureError
from core.model import guard
from core.model.loader import LoadedModel, fits, has_bfloat16
from core.model.tuning.precision import COMPONENTS, next_dtypes
from core.types import Decision, GenerationRequest


class Ladder:
    """The precision of one job: as asked at first, a rung higher after each `next`."""

    def __init__(self, request: GenerationRequest) -> None:
        self.options: Mapping[str, Any] = request.options
        self.decisions: tuple[Decision, ...] = ()

    def next(self, model: LoadedModel, broken: BrokenPictureError) -> None:
        """Go up one rung, or raise `broken` with the cure that is left to the user."""
        if not self.options["guard.retry"]:
            raise guard.with_cure(broken, "off") from broken
        higher = next_dtypes(model.dtypes, has_bfloat16(model.device))
        if higher is None:
            raise guard.with_cure(broken, "weights") from broken
        if not fits(model.info, higher, model.device):
            raise guard.with_cure(broken, "memory") from broken
        changed = {f"{component}.dtype": higher[component] for component in COMPONENTS}
        self.options = {**self.options, **changed, "model.dtype": higher["transformer"]}
        self.decisions += (
            Decision("model.dtype", model.dtypes["transformer"], higher["transformer"], _reason(broken)),
        )


def _reason(broken: BrokenPictureError) -> Mapping[str, str]:
    words = {
        "en": "the {component} gave {came} at step {step}, so the whole job was done again",
        "zh": "{component} 在第 {step} 步给出 {came}，因此重做了整个任务",
    }
    return {
        language: sentence.format(**{name: broken.said(name, language) for name in ("component", "came", "step")})
        for language, sentence in words.items()
    }
