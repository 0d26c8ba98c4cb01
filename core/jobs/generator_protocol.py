"""Define the interface between worker and generator; the generator is imported by name so that only the worker loads torch.

The exit codes of the worker's process are here, too, with the error that each becomes.
"""

from __future__ import annotations

import importlib
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from core.errors import GenerationError, OutOfMemoryError, StudioError
from core.i18n import localize
from core.types import Capability, Decision, GeneratedImage, GenerationRequest, GenerationResult, Progress, ResumeState

DEFAULT_GENERATOR = "core.inference.generator:build_generator"

OnProgress = Callable[[Progress], None]

_MEMORY_CLASSES = {"MemoryError", "OutOfMemoryError"}  # Python's and torch's, which this module must not import
_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory")  # torch's CPU and MPS allocators


class WorkerLost(Exception):
    """The process that generated for a job is gone; the job may be tried again. `reason` is by language."""

    def __init__(self, reason: Reason) -> None:
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


def device_fault(error: BaseException) -> Reason | None:
    """Return the reason if the GPU itself failed: every later call of this process to it would fail too."""
    words = (str(error).strip().splitlines() or [""])[0][:200]
    broken = type(error).__name__ == "AcceleratorError" or words.startswith(("CUDA error", "HIP error"))
    return device(words) if broken and "out of memory" not in words else None


def as_studio_error(error: BaseException, request: GenerationRequest, device: str) -> StudioError:
    """Return whatever a generation raised as an error for the user. `device` is where it ran."""
    if isinstance(error, StudioError):
        return error
    words = str(error)
    if _MEMORY_CLASSES & {kind.__name__ for kind in type(error).__mro__} or any(w in words for w in _MEMORY_WORDS):
        return OutOfMemoryError(device=device, width=request.width, height=request.height)
    first_line = (words.strip().splitlines() or [""])[0][:300]
    return GenerationError(detail=f"{type(error).__name__}: {first_line}".rstrip(": "))


EXIT_LOCKED = 75  # another worker lives over this folder (EX_TEMPFAIL: try again later)
EXIT_DEVICE = 70  # the GPU failed in a way that only a new process mends; its job is queued again already
EXIT_CLUSTER = 72  # the Ray cluster can't be reached
EXIT_NO_WORKER = 73  # no worker of the cluster comes up
EXIT_IDLE = 71  # the model was idle for long: a new process has its memory back

Reason = Mapping[str, str]  # language -> words

APP_CLOSED: Reason = localize("jobs.generator_protocol.app_closed")
APP_NOT_RUNNING: Reason = localize("jobs.generator_protocol.app_not_running")
MACHINE_GONE: Reason = localize("jobs.generator_protocol.machine_gone")
PREDECESSOR_GONE: Reason = localize("jobs.generator_protocol.predecessor_gone")
_EXITS: Mapping[int, Reason] = {
    EXIT_DEVICE: localize("jobs.generator_protocol.exits.exit_device"),
    EXIT_IDLE: localize("jobs.generator_protocol.exits.exit_idle"),
    EXIT_CLUSTER: localize("jobs.generator_protocol.exits.exit_cluster"),
    EXIT_NO_WORKER: localize("jobs.generator_protocol.exits.exit_no_worker"),
}
_KILLED = ", often for want of memory"
_SIGNALS = {  # what Chinese readers know the usual ones by; the system itself names them in English only
    "SIGABRT": "异常中止",
    "SIGBUS": "总线错误",
    "SIGFPE": "算术错误",
    "SIGILL": "处理器不支持的指令",
    "SIGINT": "被中断",
    "SIGKILL": "被强制结束，常因内存不足",
    "SIGSEGV": "段错误",
    "SIGTERM": "被要求结束",
}


def ended(code: int) -> Reason:
    """Return the reason for an exit code of subprocess, such as "signal 11: segmentation fault" or "exit code 1"."""
    if code in _EXITS:
        return _EXITS[code]
    if code >= 0:
        return localize("jobs.generator_protocol.exit_code", code=code)
    words = (signal.strsignal(-code) or "unknown").lower()
    chinese = _SIGNALS.get(_name(-code), words)
    if _name(-code) == "SIGKILL":
        words += _KILLED
    return localize("jobs.generator_protocol.signal", code=-code, words=words, chinese=chinese)


def silent(seconds: float) -> Reason:
    """Return the reason of a worker that was killed because its job did not move."""
    return localize("jobs.generator_protocol.no_step_in_s", seconds=seconds)


def device(words: str) -> Reason:
    """Return the reason of a failed device; `words` are the library's own."""
    return localize("jobs.generator_protocol.the_device_failed", words=words)


def actor_gone(node: str) -> Reason:
    """Return the reason of a cluster worker that ended while its machine is up."""
    return localize("jobs.generator_protocol.the_worker_on_is_gone", node=node)


def node_gone(node: str) -> Reason:
    """Return the reason of a cluster machine that is gone with its workers."""
    return localize("jobs.generator_protocol.the_machine_does_not_answer_any", node=node)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals between the named ones
        return ""
