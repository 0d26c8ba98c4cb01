"""Define the interface between worker and generator; the generator is imported by name so that only the worker loads torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from core.errors import GenerationError, OutOfMemoryError, StudioError
from core.jobs import exit_reasons
from core.types import Capability, Decision, GeneratedImage, GenerationRequest, GenerationResult, Progress, ResumeState

DEFAULT_GENERATOR = "core.inference.generator:build_generator"

OnProgress = Callable[[Progress], None]

_MEMORY_CLASSES = {"MemoryError", "OutOfMemoryError"}  # Python's and torch's, which this module must not import
_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory")  # torch's CPU and MPS allocators


class WorkerLost(Exception):
    """The process that generated for a job is gone; the job may be tried again. `reason` is by language."""

    def __init__(self, reason: exit_reasons.Reason) -> None:
        super().__init__(reason["en"])
        self.reason = reason


class LoadedModel(Protocol):
    """The model in memory. `load_seconds` is the loading time; the rest is as in WorkerStatus."""

    @property
    def model(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def load_seconds(self) -> float: ...
    @property
    def decisions(self) -> Sequence[Decision]: ...
    @property
    def versions(self) -> Mapping[str, str]: ...
    @property
    def asked(self) -> Mapping[str, Any]:
        """Return the options of loading as they were requested."""
        ...

    @property
    def effective(self) -> Mapping[str, Any]:
        """Return the options of loading that took effect."""
        ...

    @property
    def capabilities(self) -> Sequence[Capability]: ...


class Generator(Protocol):
    """Keep a model loaded and generate images with it."""

    @property
    def loaded(self) -> LoadedModel | None: ...

    def load(
        self, model: str, options: Mapping[str, Any], on_progress: OnProgress, is_cancelled: Callable[[], bool]
    ) -> object:
        """Have the model in memory. Raises Cancelled soon after `is_cancelled()` turns true."""
        ...

    def generate(
        self,
        request: GenerationRequest,
        on_progress: OnProgress,
        is_cancelled: Callable[[], bool],
        on_image: Callable[[GeneratedImage], None],
        attempt: ResumeState,
    ) -> GenerationResult:
        """Generate the images that the attempt does not have yet, and pass each to `on_image`."""
        ...


@runtime_checkable
class PromptWriter(Protocol):
    """A generator that can write prompts with its text encoder."""

    def write_prompt(
        self,
        model: str,
        options: Mapping[str, Any],
        task: str,
        text: str,
        seed: int,
        on_progress: OnProgress,
        on_text: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> str:
        """Load the model if needed and return the new prompt; `on_text` gets it as it grows."""
        ...


class LazyGenerator:
    """Build a generator when it is first needed, because that imports torch, which takes seconds."""

    def __init__(self, build: Callable[[], Generator]) -> None:
        self._build = build
        self._built: Generator | None = None

    def ready(self) -> Generator:
        """Return the generator. If building it raises, the next call tries again."""
        if self._built is None:
            self._built = self._build()
        return self._built

    @property
    def loaded(self) -> LoadedModel | None:
        """Return the model in memory, if there is one."""
        return self._built.loaded if self._built is not None else None


def build_generator(name: str, configs: Path, values: Mapping[str, Any]) -> Generator:
    """Import "module:function" and call it with the configs folder and the settings."""
    module, _, function = name.partition(":")
    generator: Generator = getattr(importlib.import_module(module), function)(configs, values)
    return generator


def device_fault(error: BaseException) -> exit_reasons.Reason | None:
    """Return the reason if the GPU itself failed: every later call of this process to it would fail too."""
    words = (str(error).strip().splitlines() or [""])[0][:200]
    broken = type(error).__name__ == "AcceleratorError" or words.startswith(("CUDA error", "HIP error"))
    return exit_reasons.device(words) if broken and "out of memory" not in words else None


def as_studio_error(error: BaseException, request: GenerationRequest, device: str) -> StudioError:
    """Return whatever a generation raised as an error for the user. `device` is where it ran."""
    if isinstance(error, StudioError):
        return error
    words = str(error)
    if _MEMORY_CLASSES & {kind.__name__ for kind in type(error).__mro__} or any(w in words for w in _MEMORY_WORDS):
        return OutOfMemoryError(device=device, width=request.width, height=request.height)
    first_line = (words.strip().splitlines() or [""])[0][:300]
    return GenerationError(detail=f"{type(error).__name__}: {first_line}".rstrip(": "))
