"""The job itself failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from core.errors.base import StudioError
from core.i18n import localize


class RunError(StudioError):
    """The job itself failed."""


class WorkerDiedError(RunError):
    """The worker process is gone; the job waits to be run again, and its finished pictures are kept."""


class WorkerStartError(RunError):
    """Workers end one after the other before they take a job; `log` has their last words."""


class CrashLoopError(RunError):
    """The worker process died of this job so often that it is not run again by itself."""


class OutOfMemoryError(RunError):
    """Neither the card nor the machine had enough memory."""


class CorruptImageError(RunError):
    """NaN, Inf or a flat picture: never saved as if it were one. `cure` is a sentence; without one it is the usual."""

    usual_cure: ClassVar[Mapping[str, str]] = localize("errors.runs.set_model_dtype_to_float32_and")

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"cure": self.usual_cure, **values})


class GenerationError(RunError):
    """Anything else that the pipeline raised."""


class UnexpectedError(RunError):
    """A fault of the program itself; `path` is the file with the traceback."""
