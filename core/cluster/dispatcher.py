"""Dispatch jobs of the queue to the cluster's workers, from a process of its own.

    python -m core.cluster.dispatcher [--generator module:function]  < one JSON line of WorkerConfig

It stands where the local worker stands: started by the supervisor, alone over its output folder by the same lock, and gone
with the app. Images come back to it, and it saves file and row together, as the local worker does.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from core.cluster.distributed_generator import DistributedGenerator
from core.cluster.ray_transport import RayTransport, join
from core.cluster.transport import Ended, Freed, Lost, Message, Words
from core.cluster.worker_pool import Inbox, Prepared, WorkerPool
from core.config.options import SCHEMA
from core.config.typed_settings import Options
from core.errors import GenerationError, ModelError, StudioError
from core.jobs.generator_protocol import EXIT_CLUSTER, EXIT_NO_WORKER, PREDECESSOR_GONE, LazyGenerator
from core.jobs.job_trace import JobLog
from core.jobs.queue import ChangeWatch, JobQueue
from core.jobs.runner import JobRunner
from core.jobs.worker_commands import (
    ModelCommand,
    ModelCommands,
    PromptAnswer,
    PromptCommand,
    PromptCommands,
    WorkerRequests,
)
from core.jobs.worker_process import WorkerConfig, open_store, retry_loop, serve
from core.jobs.worker_registry import Heartbeat, WorkerRegistry, requeue_abandoned
from core.models.catalog import Catalog
from core.models.model_paths import model_paths_of_values
from core.storage.database import Database
from core.types import GenerationRequest, Job, JobState, WorkerStatus

POLL_SECONDS = 0.05  # how often jobs are looked for while there is a worker for them
BUSY_SECONDS = 0.5  # and how often the queue is polled while all of them are busy: one that gets free ends the wait
TEND_SECONDS = 1.0  # and how often machines and workers are

log = logging.getLogger(__name__)


class Dispatcher:
    """Claim a job whenever a worker is free and no other job waits for one; each job has a thread."""

    def __init__(self, config: WorkerConfig, database: Database, pool: WorkerPool, stopping: threading.Event) -> None:
        directory = config.output_directory
        store = open_store(directory, config.values)
        self._values = Options(config.values)
        self._pool = pool
        self._generator = DistributedGenerator(pool)
        self._queue = JobQueue(database)
        self._registry = WorkerRegistry(database)
        self._changes = ChangeWatch(database)
        self._commands, self._requests = ModelCommands(directory), WorkerRequests(directory)
        self._prompts = PromptCommands(directory)
        self._heartbeat = Heartbeat(config.worker_id, self._registry, self._status)
        generator = LazyGenerator(lambda: self._generator)
        self._runner = JobRunner(
            config.worker_id, database, store, generator, lambda state: None, stopping, JobLog(directory, config.values)
        )
        self._stopping = stopping
        self._waiting = True  # whether jobs may be waiting that no worker was free for
        self._tended = 0.0
        self._shown: object = None  # what the page shows of each worker
        self._busy_until = time.monotonic()

    def run(self) -> int:
        """Serve until `stopping`, or until no worker starts; return the exit code. No error ends it."""
        self._heartbeat.say("starting")
        requeue_abandoned(self._queue, self._registry, PREDECESSOR_GONE)
        self._runner.import_orphans()
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        return retry_loop(self._turn, self._stopping, "the queue could not be served")

    def _listen(self) -> None:
        retry_loop(self._pool.listen, self._stopping, "the workers could not be heard")

    def _turn(self) -> int | None:
        """Do one round of workers, jobs and commands; return the exit code when the process has to end."""
        self._look()
        if self._pool.failing:
            return EXIT_NO_WORKER
        with self._pool.changed:
            self._pool.changed.wait(POLL_SECONDS if self._pool.has_free() else BUSY_SECONDS)
        return None

    def _look(self) -> None:
        if time.monotonic() - self._tended > TEND_SECONDS:
            self._tended = time.monotonic()
            self._handle_requests()
            self._pool.tend()
            self._runner.render_sweep_grids()  # of a sweep whose last job was cancelled
            self._shown = tuple((worker.id, worker.state, worker.model, worker.job) for worker in self._pool.workers())
        self._heartbeat.say(self._pool.status().state, self._shown)
        if self._changes.changed() or self._waiting:
            self._claim()
        command = self._commands.take()
        if command is not None:
            self._execute(command)
        asked = self._prompts.take() if self._pool.has_free() else None
        if asked is not None:
            threading.Thread(target=self._write, args=(asked,), name=f"prompt {asked.id}", daemon=True).start()
        self._unload_idle()

    def _status(self, state: str) -> WorkerStatus:
        """Return the combined status of all workers, with each of them."""
        nodes, workers = self._pool.nodes(), self._pool.workers()
        return replace(self._pool.status(), state=state, pid=os.getpid(), nodes=nodes, workers=workers)

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """Start jobs in the order of the queue while workers are free."""
        self._waiting = True
        while self._pool.has_free() and self._generator.is_served(POLL_SECONDS):
            job = self._runner.claim() if self._runner.has_waiting() else None
            if job is None:
                self._waiting = False
                return
            self._generator.want(job.id)
            threading.Thread(target=self._run, args=(job,), name=f"job {job.id}", daemon=True).start()

    def _run(self, job: Job) -> None:
        try:
            state = self._runner.run(job)
        finally:
            self._generator.want(job.id, False)
            self._busy_until, self._waiting = time.monotonic(), True
        if state is JobState.DONE:
            self._heartbeat.good_jobs += 1
            self._commands.remember(job.request.model)

    # -- models and workers ----------------------------------------------------------------------------------------

    def _execute(self, command: ModelCommand) -> None:
        """Load the requested model on every idle worker, or restart idle workers to free their memory."""
        if command.model is None:
            self._pool.renew()
        else:
            self._pool.load(command.model, command.options)
            self._commands.remember(command.model)

    def _write(self, command: PromptCommand) -> None:
        """Have a worker write a prompt; what goes wrong is part of the answer."""
        answer, is_cancelled = self._prompts.answer, self._prompts.is_cancelled
        write_prompt(
            self._pool,
            command,
            lambda words: answer(command.id, words),
            lambda: is_cancelled(command.id),
            self._stopping,
        )
        self._busy_until = time.monotonic()

    def _handle_requests(self) -> None:
        """Add or drain workers as requested, and report models that could not be loaded."""
        for verb, name in self._requests.take():
            (self._pool.add if verb == "add" else self._pool.drain)(name)
        refused, self._pool.refused = self._pool.refused, None
        if refused is not None and refused.error is not None:
            self._commands.refuse(StudioError.from_dict(refused.error))

    def _unload_idle(self) -> None:
        """Restart workers that were idle for long, which frees their memory."""
        minutes = self._values.worker.unload_minutes
        status = self._pool.status()
        if status.state == "busy":
            self._busy_until = time.monotonic()
        elif minutes and status.model is not None and time.monotonic() - self._busy_until > 60 * minutes:
            self._pool.renew()


LOOK_SECONDS = 0.2  # how often a cancelled command is noticed

Answer = Callable[[PromptAnswer], None]


def write_prompt(
    pool: WorkerPool,
    command: PromptCommand,
    answer: Answer,
    is_cancelled: Callable[[], bool],
    stopping: threading.Event,
) -> None:
    """Carry out a command on the best worker, as soon as one is free; `answer` gets what there is, and last the end of it."""
    inbox: Inbox = queue.SimpleQueue()
    wanted = GenerationRequest("", model=command.model, options=command.options)
    text = ""
    while (worker := pool.take(wanted, command.id, inbox)) is None:
        if stopping.is_set() or is_cancelled():
            answer(PromptAnswer(text, True))
            return
        _next_message(inbox)
    try:
        ticket = pool.write(worker, command)
        while True:
            message = _next_message(inbox)
            if stopping.is_set() or is_cancelled():
                pool.stop(worker)
            if isinstance(message, Words) and message.ticket == ticket:
                text = message.text
                answer(PromptAnswer(text))
            elif isinstance(message, Ended) and message.ticket == ticket:
                answer(PromptAnswer(text, True, StudioError.from_dict(message.error) if message.error else None))
                return
            elif isinstance(message, Lost):
                answer(PromptAnswer(text, True, GenerationError(detail=message.reason)))
                return
            elif stopping.is_set():
                answer(PromptAnswer(text, True))
                return
    finally:
        pool.release(worker)


def _next_message(inbox: Inbox) -> Message:
    try:
        return inbox.get(timeout=LOOK_SECONDS)[1]
    except queue.Empty:
        return Freed()


def prepared(config: WorkerConfig) -> Prepared:
    """Return the model that a new worker loads: that of the settings, or the last one; none after an unload."""
    values = Options(config.values)
    if not values.model.preload or config.unloaded_from is not None:
        return None, {}
    last = ModelCommands(config.output_directory).last() if values.model.last_at_start else None
    return last or values.model.id, {option.key: values[option.key] for option in SCHEMA.request_options()}


def need_of(catalog: Catalog) -> Callable[[str], int | None]:
    """Return a function for the memory that a model needs (1.2 x its weights), cached because it is called for each image."""
    known: dict[str, int] = {}

    def need(model: str) -> int | None:
        if model in known:
            return known[model]
        try:
            held = catalog.find(model).memory_bytes
        except ModelError:
            return None
        if held:
            known[model] = int(1.2 * held)
        return known.get(model)

    return need


def _open(config: WorkerConfig, generator: str) -> WorkerPool:
    """Return the worker pool over Ray. Raises as `join` does."""
    option = Options(config.values)
    values = {key: value for key, value in config.values.items() if not SCHEMA.options[key].secret}
    ray = join(option.worker.ray_address)
    transport = RayTransport(ray, generator, config.configs, values)
    catalog = Catalog(config.configs, model_paths_of_values(config.configs, config.values))
    hang = float(option.worker.timeout)
    return WorkerPool(transport, option.worker.ray_workers, hang, prepared(config), need_of(catalog))


def _work(config: WorkerConfig, database: Database, generator: str, stopping: threading.Event) -> int:
    try:
        pool = _open(config, generator)
    except Exception:
        log.exception("Ray cannot be started or joined")
        return EXIT_CLUSTER
    return Dispatcher(config, database, pool, stopping).run()


if __name__ == "__main__":
    sys.exit(serve("The dispatcher of Z Darkroom's workers on Ray; the app starts it by itself.", _work))
