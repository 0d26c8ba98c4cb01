"""The worker: a process of its own that makes the pictures, one job after the other, with the model kept in memory.

    python -m core.jobs.worker [--generator module:function]  < one JSON line of WorkerOrders

It ends when its stdin is closed or its owner is gone, so it never outlives the app; its lock on the output folder sees
to it that no second one runs over the same queue.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable

from core.config.options import SCHEMA
from core.errors import ModelLoadError, StudioError
from core.jobs.changes import ChangeWatch
from core.jobs.generator_protocol import Generator, LazyGenerator, build_generator
from core.jobs.heartbeat import Heartbeat, status_of
from core.jobs.model_commands import ModelCommand, ModelCommands
from core.jobs.queue import JobQueue
from core.jobs.reasons import PREDECESSOR_GONE
from core.jobs.retry_loop import keep_on
from core.jobs.runner import JobRunner
from core.jobs.worker_config import EXIT_DEVICE, EXIT_IDLE, WorkerConfig, open_store
from core.jobs.worker_main import serve
from core.jobs.worker_registry import WorkerRegistry, sweep
from core.remote.generator import RemoteGenerator
from core.storage.database import Database
from core.types import JobState, WorkerStatus

POLL_SECONDS = 0.05  # an idle worker looks for a job this often

log = logging.getLogger(__name__)


class Worker:
    """Looks for jobs and wishes, and has the one run and grants the other; one thread, until `stopping`."""

    def __init__(
        self,
        orders: WorkerConfig,
        database: Database,
        build: Callable[[], Generator],
        stopping: threading.Event,
    ) -> None:
        directory = orders.output_directory
        store = open_store(directory, orders.values)
        self._values = orders.values
        self._unloaded_from = orders.unloaded_from
        self._queue = JobQueue(database)
        self._roster = WorkerRegistry(database)
        self._changes = ChangeWatch(database)
        self._wishes = ModelCommands(directory)
        self._generator = LazyGenerator(build)
        self._presence = Heartbeat(orders.worker_id, self._roster, self._status)
        self._runner = JobRunner(orders.worker_id, database, store, self._generator, self._presence.say, stopping)
        self._stopping = stopping
        self._busy_until = time.monotonic()

    def run(self) -> int:
        """Until `stopping`, a device that failed, or a long rest; the exit code. No job and no full disk ends it."""
        self._presence.say("starting")
        sweep(self._queue, self._roster, PREDECESSOR_GONE)
        self._runner.import_orphans()
        if self._unloaded_from is None:
            self._prepare()
        return keep_on(self._turn, self._stopping, "the queue could not be served")

    def _turn(self) -> int | None:
        """Once around: jobs, wishes, rest; the exit code when it is to end."""
        self._presence.say("idle")
        # A look that failed, and a job whose time has come, are seen after the next beat, which is a change too.
        if self._changes.changed():
            if self._queue.has_waiting():
                self._work_through()
            self._runner.render_sweep_grids()  # of a sweep whose last job was cancelled
        wish = self._wishes.take()
        if wish is not None and self._grant(wish):
            return EXIT_IDLE
        if self._runner.device_failed:
            return EXIT_DEVICE
        if self._has_rested():
            return EXIT_IDLE
        self._stopping.wait(POLL_SECONDS)
        return None

    def _status(self, state: str) -> WorkerStatus:
        return status_of(state, self._generator, self._unloaded_from)

    def _work_through(self) -> None:
        """Every job that is waiting, with no pause between them."""
        while not (self._stopping.is_set() or self._runner.device_failed):
            ended = self._runner.run_next()
            if ended is None:
                return
            job, state = ended
            if state is JobState.DONE:
                self._presence.good_jobs += 1
                self._wishes.remember(job.request.model)
            self._busy_until = time.monotonic()

    def _has_rested(self) -> bool:
        """Whether the model has been idle for so long that its memory is given back, which only ending does wholly."""
        minutes = self._values["worker.unload_minutes"]
        loaded = self._generator.loaded is not None
        return bool(minutes) and loaded and time.monotonic() - self._busy_until > 60 * minutes

    # -- the model -------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Import the generator and load the model ahead of time. What fails here fails again in a job, aloud."""
        try:
            generator = self._generator.ready()
            if self._values["model.preload"] and not self._queue.has_waiting():
                self._presence.say("loading")
                options = {option.key: self._values[option.key] for option in SCHEMA.request_options()}
                last = self._wishes.last() if self._values["model.last_at_start"] else None
                model = last or self._values["model.id"]
                generator.load(model, options, lambda progress: self._presence.say("loading"))
        except Exception:
            log.exception("the model could not be loaded ahead of the first job")

    def _grant(self, wish: ModelCommand) -> bool:
        """Load what is wished for; True when the model is to be unloaded, which only ending does wholly."""
        if wish.model is None:
            return self._generator.loaded is not None
        try:
            self._presence.say("loading")
            self._generator.ready().load(wish.model, wish.options, lambda progress: self._presence.say("loading"))
            self._wishes.remember(wish.model)
        except Exception as problem:
            log.exception("%s could not be loaded", wish.model)
            words = f"{type(problem).__name__}: {problem}"[:300]
            self._wishes.refuse(
                problem if isinstance(problem, StudioError) else ModelLoadError(model=wish.model, detail=words)
            )
        self._busy_until = time.monotonic()
        return False


def _generator(orders: WorkerConfig, name: str) -> Generator:
    """The one that has another studio draw where there is one to, else the one of that name."""
    if orders.values["remote.url"]:
        return RemoteGenerator(orders.values)
    return build_generator(name, orders.configs, orders.values)


def _work(orders: WorkerConfig, database: Database, generator: str, stopping: threading.Event) -> int:
    return Worker(orders, database, lambda: _generator(orders, generator), stopping).run()


if __name__ == "__main__":
    sys.exit(serve("The worker process of Z Darkroom; the app starts it by itself.", _work))
