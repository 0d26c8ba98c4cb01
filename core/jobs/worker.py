"""Run the worker: one job after the other in a process of its own, with the model kept in memory.

    python -m core.jobs.worker [--generator module:function]  < one JSON line of WorkerConfig

It ends when its stdin is closed or its owner is gone, so it never outlives the app; its lock on the output folder sees
to it that no second one runs over the same queue.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from core.config.options import SCHEMA
from core.config.typed_settings import Options
from core.errors import Cancelled, GenerationError, ModelLoadError, StudioError, UnavailableError
from core.jobs.generator_protocol import (
    EXIT_DEVICE,
    EXIT_IDLE,
    PREDECESSOR_GONE,
    Generator,
    LazyGenerator,
    PromptWriter,
    build_generator,
)
from core.jobs.job_trace import JobLog
from core.jobs.queue import ChangeWatch, JobQueue
from core.jobs.runner import JobRunner
from core.jobs.tenant import Tenant, use_cpu_politely
from core.jobs.worker_commands import (
    DraftCommand,
    DraftCommands,
    ModelCommand,
    ModelCommands,
    PromptAnswer,
    PromptCommand,
    PromptCommands,
)
from core.jobs.worker_process import WorkerConfig, open_store, retry_loop, serve
from core.jobs.worker_registry import Heartbeat, WorkerRegistry, requeue_abandoned, status_of
from core.remote.generator import RemoteGenerator
from core.storage.database import Database
from core.types import JobState, Phase, Progress, WorkerStatus

POLL_SECONDS = 0.05  # an idle worker looks for a job this often
QUICK_POLL_SECONDS = 0.005  # and this often in the QUICK_SECONDS after a job: a look into a file takes microseconds
QUICK_SECONDS = 60.0
YIELD_SECONDS = 0.5  # a worker that makes room looks this often whether it may work again

log = logging.getLogger(__name__)


class Worker:
    """Run jobs and commands in one thread, until `stopping`."""

    def __init__(
        self,
        config: WorkerConfig,
        database: Database,
        build: Callable[[], Generator],
        stopping: threading.Event,
        tenant: Tenant | None = None,
    ) -> None:
        directory = config.output_directory
        store = open_store(directory, config.values)
        self._values = Options(config.values)
        self._unloaded_from = config.unloaded_from
        self._is_shared = database.is_shared  # a look is a question to a server
        self._queue = JobQueue(database)
        self._registry = WorkerRegistry(database)
        self._changes = ChangeWatch(database)
        self._commands = ModelCommands(directory)
        self._prompts = PromptCommands(directory)
        self._drafts = DraftCommands(directory)
        self._generator = LazyGenerator(build)
        self._heartbeat = Heartbeat(config.worker_id, self._registry, self._status)
        self._runner = JobRunner(
            config.worker_id,
            database,
            store,
            self._generator,
            self._heartbeat.say,
            stopping,
            JobLog(directory, config.values),
            lambda: self._tenant.reason() is not None,
        )
        self._tenant = tenant or Tenant(config.values, directory, self._queue.is_given_back)
        self._stopping = stopping
        self._busy_until = time.monotonic()
        self._paused_running = False
        self._reading = (0, 0)  # bytes of the model that is loaded ahead of any job: read, in all

    def run(self) -> int:
        """Serve until `stopping`, a failed device or a long idle time; return the exit code. No error ends it."""
        self._heartbeat.say("starting")
        requeue_abandoned(self._queue, self._registry, PREDECESSOR_GONE)
        self._runner.import_orphans()
        self._drafts.clear()
        if self._unloaded_from is None and self._tenant.reason() is None:
            self._prepare()
        return retry_loop(self._turn, self._stopping, "the queue could not be served")

    def _turn(self) -> int | None:
        """Do one round of jobs and commands; return the exit code when the worker has to end."""
        if (reason := self._tenant.reason()) is not None:
            return self._make_room(reason)
        self._heartbeat.say("idle")
        # A look that failed, and a job whose time has come, are seen after the next beat, which is a change too.
        if self._changes.changed():
            if self._runner.has_waiting():
                self._run_waiting()
            if self._gives_back():
                return EXIT_IDLE
            self._runner.render_sweep_grids()  # of a sweep whose last job was cancelled
        command = self._commands.take()
        if command is not None and self._execute(command):
            return EXIT_IDLE
        if (asked := self._prompts.take()) is not None:
            self._write_prompt(asked)
        if (draft := self._drafts.take()) is not None:
            self._draw_draft(draft)
        if self._runner.device_failed:
            return EXIT_DEVICE
        if self._is_idle_too_long():
            return EXIT_IDLE
        quick = not self._is_shared and time.monotonic() - self._busy_until < QUICK_SECONDS
        self._stopping.wait(QUICK_POLL_SECONDS if quick else POLL_SECONDS)
        return None

    def _make_room(self, reason: Mapping[str, str]) -> int | None:
        """Leave the GPU alone; return the exit code when a model is to leave the memory, which only a new process does fully."""
        self._heartbeat.say("yielding", tuple(reason.values()))
        if self._generator.loaded is not None:
            return EXIT_IDLE
        self._stopping.wait(YIELD_SECONDS)
        return None

    def _status(self, state: str) -> WorkerStatus:
        read, total = self._reading
        status = status_of(state, self._generator, self._unloaded_from)
        yields_to, unmeasured = self._tenant.reason() or {}, self._tenant.unmeasured or {}
        return replace(status, read_bytes=read, total_bytes=total, yields_to=yields_to, unmeasured=unmeasured)

    def _run_waiting(self) -> None:
        """Run every waiting job without a pause between them."""
        while not (self._stopping.is_set() or self._runner.device_failed or self._tenant.reason() is not None):
            ended = self._runner.run_next()
            if ended is None:
                return
            job, state = ended
            if state is JobState.DONE:
                self._heartbeat.good_jobs += 1
                self._commands.remember(job.request.model)
            elif state is JobState.QUEUED and self._queue.get(job.id).held:
                self._paused_running = True
            self._busy_until = time.monotonic()

    def _gives_back(self) -> bool:
        """Return True once after a running job was paused and no other waits: whoever pauses wants the memory back."""
        paused, self._paused_running = self._paused_running, False
        return paused and self._generator.loaded is not None and not self._runner.has_waiting()

    def _is_idle_too_long(self) -> bool:
        """Return True if the model was idle so long that it is unloaded, which only a new process does fully."""
        minutes = self._values.worker.unload_minutes
        loaded = self._generator.loaded is not None
        return bool(minutes) and loaded and time.monotonic() - self._busy_until > 60 * minutes

    # -- the model -------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Import the generator and preload the model. Errors are logged; a job will raise them again."""
        try:
            self._generator.ready()
            if self._values.model.preload and not self._queue.has_waiting():
                options = {option.key: self._values[option.key] for option in SCHEMA.request_options()}
                last = self._commands.last() if self._values.model.last_at_start else None
                model = last or self._values.model.id
                self._load(model, options)
        except Exception:
            log.exception("the model could not be loaded ahead of the first job")

    def _execute(self, command: ModelCommand) -> bool:
        """Execute a command; return True to unload, which only a new process does fully."""
        if command.model is None:
            return self._generator.loaded is not None
        try:
            self._load(command.model, command.options)
            self._commands.remember(command.model)
        except Exception as problem:
            log.exception("%s could not be loaded", command.model)
            words = f"{type(problem).__name__}: {problem}"[:300]
            self._commands.refuse(
                problem if isinstance(problem, StudioError) else ModelLoadError(model=command.model, detail=words)
            )
        self._busy_until = time.monotonic()
        return False

    def _load(self, model: str, options: Mapping[str, Any]) -> None:
        """Load a model ahead of any job, until another command comes."""

        def say(progress: Progress) -> None:
            self._reading = (progress.read_bytes, progress.total_bytes)
            self._heartbeat.say("loading", self._reading)

        self._heartbeat.say("loading")
        try:
            self._generator.ready().load(model, options, say, lambda: self._stopping.is_set() or self._commands.waiting)
        except Cancelled:
            log.info("loading %s was cancelled", model)
        finally:
            self._reading = (0, 0)

    def _write_prompt(self, command: PromptCommand) -> None:
        """Write a prompt with the loaded text encoder; the answer grows as the words come."""
        text = ""

        def show(words: str) -> None:
            nonlocal text
            text = words
            self._heartbeat.say("busy")
            self._prompts.answer(command.id, PromptAnswer(text))

        error: StudioError | None = None
        try:
            writer = self._generator.ready()
            assert isinstance(writer, PromptWriter)  # the studio asks no other
            text = writer.write_prompt(
                command.model, command.options, command.task, command.text, command.seed,
                lambda progress: self._heartbeat.say("loading"), show, lambda: self._prompts.is_cancelled(command.id),
            )  # fmt: skip
        except Cancelled:
            log.info("writing a prompt was cancelled")
        except Exception as problem:
            log.exception("the prompt could not be written")
            words = f"{type(problem).__name__}: {problem}"[:300]
            error = problem if isinstance(problem, StudioError) else GenerationError(detail=words)
        self._prompts.answer(command.id, PromptAnswer(text, True, error))
        self._busy_until = time.monotonic()


    def _draw_draft(self, command: DraftCommand) -> None:
        """Draw a draft until a later one takes its place, a job waits or the GPU is to be left alone. Nothing is stored."""

        def is_stopped() -> bool:
            return self._stopping.is_set() or not self._drafts.is_wanted(command) or self._tenant.reason() is not None

        def say(progress: Progress) -> None:
            self._heartbeat.say("loading" if progress.phase is Phase.LOADING else "idle")

        image = b""
        error: StudioError | None = None
        try:
            image = self._runner.draft(command.request, say, is_stopped)
        except Cancelled:
            reason = self._tenant.reason()
            if reason is None:
                return
            error = UnavailableError(key="model.id", value=command.request.model, reason=reason)
        except StudioError as problem:
            error = problem
        self._drafts.answer(command, image, error)
        self._busy_until = time.monotonic()


def _generator(config: WorkerConfig, name: str) -> Generator:
    """Return the remote generator if a remote server is set, else the one of that name."""
    if config.values["remote.url"]:
        return RemoteGenerator(config.values)
    return build_generator(name, config.configs, config.values)


def _work(config: WorkerConfig, database: Database, generator: str, stopping: threading.Event) -> int:
    use_cpu_politely(config.values)
    return Worker(config, database, lambda: _generator(config, generator), stopping).run()


if __name__ == "__main__":
    sys.exit(serve("The worker process of Z Darkroom; the app starts it by itself.", _work))
