"""The dispatcher: a process of its own that takes jobs from the queue and has the cluster's workers draw them.

    python -m core.cluster.dispatcher [--generator module:function]  < one JSON line of WorkerOrders

It stands where the local worker stands: started by the supervisor, alone over its output folder by the same lock, and gone
with the app. Pictures come back to it, and it saves file and row together, as the local worker does.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from core.cluster.distributed_generator import DistributedGenerator
from core.cluster.ray_transport import RayTransport, join
from core.cluster.worker_pool import Prepared, WorkerPool
from core.config.options import SCHEMA
from core.errors import ModelError, StudioError
from core.jobs.changes import ChangeWatch
from core.jobs.generator_protocol import LazyGenerator
from core.jobs.heartbeat import Heartbeat
from core.jobs.model_commands import ModelCommand, ModelCommands
from core.jobs.queue import JobQueue
from core.jobs.reasons import PREDECESSOR_GONE
from core.jobs.retry_loop import keep_on
from core.jobs.runner import JobRunner
from core.jobs.worker_config import EXIT_CLUSTER, EXIT_NO_WORKER, WorkerConfig, open_store
from core.jobs.worker_main import serve
from core.jobs.worker_registry import WorkerRegistry, sweep
from core.jobs.worker_requests import WorkerRequests
from core.models.catalog import Catalog
from core.models.model_paths import model_paths_of_values
from core.storage.database import Database
from core.types import Job, JobState, WorkerStatus

POLL_SECONDS = 0.05  # how often jobs are looked for while there is a worker for them
BUSY_SECONDS = 0.5  # and how often there is a look around while all of them draw: one that gets free ends the wait
TEND_SECONDS = 1.0  # and how often machines and workers are

log = logging.getLogger(__name__)


class Dispatcher:
    """Claims a job whenever a worker is free and no other job waits for one; each job has a thread."""

    def __init__(self, orders: WorkerConfig, database: Database, fleet: WorkerPool, stopping: threading.Event) -> None:
        directory = orders.output_directory
        store = open_store(directory, orders.values)
        self._values = orders.values
        self._fleet = fleet
        self._spread = DistributedGenerator(fleet)
        self._queue = JobQueue(database)
        self._roster = WorkerRegistry(database)
        self._changes = ChangeWatch(database)
        self._wishes, self._staffing = ModelCommands(directory), WorkerRequests(directory)
        self._presence = Heartbeat(orders.worker_id, self._roster, self._status)
        generator = LazyGenerator(lambda: self._spread)
        self._runner = JobRunner(orders.worker_id, database, store, generator, lambda state: None, stopping)
        self._stopping = stopping
        self._waiting = True  # whether jobs may be waiting that no worker was free for
        self._tended = 0.0
        self._shown: object = None  # what the page shows of each worker
        self._busy_until = time.monotonic()

    def run(self) -> int:
        """Until `stopping`, or until no worker comes up; the exit code. No job and no full disk ends it."""
        self._presence.say("starting")
        sweep(self._queue, self._roster, PREDECESSOR_GONE)
        self._runner.import_orphans()
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        return keep_on(self._turn, self._stopping, "the queue could not be served")

    def _listen(self) -> None:
        keep_on(self._fleet.listen, self._stopping, "the workers could not be heard")

    def _turn(self) -> int | None:
        """Once around: workers, jobs, wishes; the exit code when it is to end."""
        self._look()
        if self._fleet.failing:
            return EXIT_NO_WORKER
        with self._fleet.changed:
            self._fleet.changed.wait(POLL_SECONDS if self._fleet.has_free() else BUSY_SECONDS)
        return None

    def _look(self) -> None:
        if time.monotonic() - self._tended > TEND_SECONDS:
            self._tended = time.monotonic()
            self._heed()
            self._fleet.tend()
            self._runner.render_sweep_grids()  # of a sweep whose last job was cancelled
            self._shown = tuple((worker.id, worker.state, worker.model, worker.job) for worker in self._fleet.workers())
        self._presence.say(self._fleet.status().state, self._shown)
        if self._changes.changed() or self._waiting:
            self._claim()
        wish = self._wishes.take()
        if wish is not None:
            self._grant(wish)
        self._rest()

    def _status(self, state: str) -> WorkerStatus:
        """All workers as if they were one, and each of them."""
        nodes, workers = self._fleet.nodes(), self._fleet.workers()
        return replace(self._fleet.status(), state=state, pid=os.getpid(), nodes=nodes, workers=workers)

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """Begin jobs in the order of the queue while there are workers for them."""
        self._waiting = True
        while self._fleet.has_free() and self._spread.is_served(POLL_SECONDS):
            job = self._runner.claim() if self._queue.has_waiting() else None
            if job is None:
                self._waiting = False
                return
            self._spread.want(job.id)
            threading.Thread(target=self._run, args=(job,), name=f"job {job.id}", daemon=True).start()

    def _run(self, job: Job) -> None:
        try:
            state = self._runner.run(job)
        finally:
            self._spread.want(job.id, False)
            self._busy_until, self._waiting = time.monotonic(), True
        if state is JobState.DONE:
            self._presence.good_jobs += 1
            self._wishes.remember(job.request.model)

    # -- models and workers ----------------------------------------------------------------------------------------

    def _grant(self, wish: ModelCommand) -> None:
        """Load what is wished for on every worker at rest, or give their memory back."""
        if wish.model is None:
            self._fleet.renew()
        else:
            self._fleet.load(wish.model, wish.options)
            self._wishes.remember(wish.model)

    def _heed(self) -> None:
        """What people wish of workers and models since the last look, and what came of it."""
        for verb, name in self._staffing.take():
            (self._fleet.add if verb == "add" else self._fleet.drain)(name)
        refused, self._fleet.refused = self._fleet.refused, None
        if refused is not None and refused.error is not None:
            self._wishes.refuse(StudioError.from_dict(refused.error))

    def _rest(self) -> None:
        """After a long rest the workers give their memory back, which only ending does wholly."""
        minutes = self._values["worker.unload_minutes"]
        status = self._fleet.status()
        if status.state == "busy":
            self._busy_until = time.monotonic()
        elif minutes and status.model is not None and time.monotonic() - self._busy_until > 60 * minutes:
            self._fleet.renew()


def prepared(orders: WorkerConfig) -> Prepared:
    """What a new worker has ready: the model of the settings, or the last one, unless it is to load none unasked."""
    values = orders.values
    if not values["model.preload"] or orders.unloaded_from is not None:
        return None, {}
    last = ModelCommands(orders.output_directory).last() if values["model.last_at_start"] else None
    return last or values["model.id"], {option.key: values[option.key] for option in SCHEMA.request_options()}


def need_of(catalog: Catalog) -> Callable[[str], int | None]:
    """The memory that a model wants, a fifth more than its weights. What was found is remembered: it is asked for each picture."""
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


def _open(orders: WorkerConfig, generator: str) -> WorkerPool:
    """The fleet over Ray; raises what `join` does."""
    values = {key: value for key, value in orders.values.items() if not SCHEMA.options[key].secret}
    ray = join(str(orders.values["worker.ray_address"]))
    link = RayTransport(ray, generator, orders.configs, values)
    catalog = Catalog(orders.configs, model_paths_of_values(orders.configs, orders.values))
    hang = float(orders.values["worker.timeout"])
    return WorkerPool(link, orders.values["worker.ray_workers"], hang, prepared(orders), need_of(catalog))


def _work(orders: WorkerConfig, database: Database, generator: str, stopping: threading.Event) -> int:
    try:
        fleet = _open(orders, generator)
    except Exception:
        log.exception("Ray cannot be started or joined")
        return EXIT_CLUSTER
    return Dispatcher(orders, database, fleet, stopping).run()


if __name__ == "__main__":
    sys.exit(serve("The dispatcher of Z Darkroom's workers on Ray; the app starts it by itself.", _work))
