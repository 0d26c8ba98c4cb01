"""Run one worker of the cluster: a generator with its model in memory.

Ray calls it from several threads: commands run one after another in a thread of their own, while `listen` returns
messages and `stop` acts within a step.
"""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from core.cluster.transport import Ended, Facts, Heard, Step, Words
from core.errors import Cancelled, GenerationError, ModelLoadError, StudioError
from core.jobs.generator_protocol import LazyGenerator, PromptWriter, as_studio_error, build_generator, device_fault
from core.jobs.runner import without_prompts
from core.jobs.worker_commands import PromptCommand
from core.jobs.worker_registry import status_of
from core.types import GeneratedImage, GenerationRequest, Progress, ResumeState, WorkerStatus

LISTEN_SECONDS = 1.0  # a listener is answered at least this often, so that silence means something


class GeneratorActor:
    """Generate single images and load models on command."""

    def __init__(self, generator: str, configs: str, values: Mapping[str, Any]) -> None:
        self._generator = LazyGenerator(lambda: build_generator(generator, Path(configs), values))
        self._commands: queue.SimpleQueue[Callable[[], Ended]] = queue.SimpleQueue()
        self._messages: list[Step | Words | Ended] = []
        self._news = threading.Condition()
        self._shown = 0  # the ticket whose steps are looked at
        self._stopped = 0  # every command up to this ticket is to stop
        self._state = "starting"
        self._began = False  # whether a command was carried out: before that nothing knows a GPU
        threading.Thread(target=self._work, name="commands", daemon=True).start()

    # -- called by the dispatcher ----------------------------------------------------------------------------------

    def prepare(self, ticket: int, model: str | None, options: Mapping[str, Any]) -> None:
        """Import the generator and, with `model`, load it."""
        self._commands.put(lambda: self._load(ticket, model, options))

    def generate(self, ticket: int, request: GenerationRequest, attempt: ResumeState) -> None:
        """Generate a single image. Tickets increase."""
        self._commands.put(lambda: self._generate(ticket, request, attempt))

    def write(self, ticket: int, command: PromptCommand) -> None:
        """Write a prompt with the text encoder of the command's model."""
        self._commands.put(lambda: self._write(ticket, command))

    def stop(self, ticket: int) -> None:
        """End a command within a step; it may not have arrived yet."""
        self._stopped = max(self._stopped, ticket)

    def show(self, ticket: int) -> None:
        """Report each step of this command as it happens; steps of others are collected."""
        with self._news:
            self._shown = ticket
            self._news.notify_all()

    def listen(self) -> Heard:
        """Return the messages since the last call, as soon as one can't wait."""
        with self._news:
            self._news.wait_for(self._has_news, LISTEN_SECONDS)
            messages, self._messages = tuple(self._messages), []
        resting = not messages or any(isinstance(message, Ended) for message in messages)
        return Heard(messages, self.facts() if resting else None)

    def _has_news(self) -> bool:
        return any(isinstance(message, Ended) or message.ticket == self._shown for message in self._messages)

    def facts(self) -> Facts:
        """Return what this actor is and has loaded."""
        status = status_of(self._state, self._generator)
        of_gpu = _facts_of_gpu(status) if self._began else None
        memory = psutil.virtual_memory()
        return of_gpu or Facts(status, "", memory.total, memory.available, status.memory_bytes or 0)

    # -- in the command thread -------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            command = self._commands.get()
            ended = command()
            self._state, self._began = "idle", True
            self._say(ended)

    def _say(self, message: Step | Words | Ended) -> None:
        with self._news:
            self._messages.append(message)
            self._news.notify_all()

    def _load(self, ticket: int, model: str | None, options: Mapping[str, Any]) -> Ended:
        self._state = "loading"
        try:
            generator = self._generator.ready()
            if model is not None:
                generator.load(model, options, lambda progress: self._say(Step(ticket, progress)), lambda: False)
        except Exception as problem:
            words = f"{type(problem).__name__}: {problem}"[:300]
            error = problem if isinstance(problem, StudioError) else ModelLoadError(model=model or "", detail=words)
            return Ended(ticket, error=error.to_dict(), trace=traceback.format_exc())
        return Ended(ticket)

    def _write(self, ticket: int, command: PromptCommand) -> Ended:
        self._state = "busy"
        try:
            writer = self._generator.ready()
            assert isinstance(writer, PromptWriter)  # the studio asks no other
            writer.write_prompt(
                command.model, command.options, command.task, command.text, command.seed,
                lambda progress: self._say(Step(ticket, progress)), lambda text: self._say(Words(ticket, text)),
                lambda: ticket <= self._stopped,
            )  # fmt: skip
        except Exception as problem:
            words = f"{type(problem).__name__}: {problem}"[:300]
            error = problem if isinstance(problem, StudioError) else GenerationError(detail=words)
            return Ended(ticket, error=error.to_dict(), fault=device_fault(problem), trace=traceback.format_exc())
        return Ended(ticket)

    def _generate(self, ticket: int, request: GenerationRequest, attempt: ResumeState) -> Ended:
        self._state = "busy"
        generated: list[GeneratedImage] = []

        def report(progress: Progress) -> None:
            self._say(Step(ticket, progress))

        try:
            self._generator.ready().generate(
                request, report, lambda: ticket <= self._stopped, generated.append, attempt
            )
        except Cancelled:
            return Ended(ticket, cancelled=True)
        except Exception as problem:
            loaded = self._generator.loaded
            error = as_studio_error(problem, request, (loaded and loaded.device) or "cpu")
            trace = without_prompts(traceback.format_exc(), request)
            return Ended(ticket, error=error.to_dict(), fault=device_fault(problem), trace=trace)
        return Ended(ticket, image=generated[0])


def _facts_of_gpu(status: WorkerStatus) -> Facts | None:
    """Return the facts of the GPU; None without one, or when torch was not imported."""
    if "torch" not in sys.modules:
        return None
    from core.inference import memory

    gpu = memory.gpu_info()
    return Facts(status, gpu.name, gpu.total, gpu.free, gpu.own) if gpu is not None else None
