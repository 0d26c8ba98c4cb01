"""Keep one row for each worker process: its heartbeat, status, and whether it is alive."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psutil
from sqlalchemy import Row, delete, insert, select

from core.errors import StorageError
from core.jobs.generator_protocol import LazyGenerator, Reason
from core.jobs.queue import JobQueue
from core.jobs.serialization import read_status, write_status
from core.jobs.worker_process import ALLOCATOR_VARIABLE, is_alive
from core.storage.database import Database, moment, now
from core.storage.tables import workers
from core.types import WorkerStatus

log = logging.getLogger(__name__)

AWAY_SECONDS = 60.0  # a worker of another machine that was silent this long is gone; clocks may differ by half of it


class WorkerRegistry:
    """One row for each worker. Thread-safe as the database is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, worker_id: str, status: WorkerStatus, good_jobs: int) -> None:
        """Write the row of the calling process, with its start time."""
        process = psutil.Process()
        facts = {
            "status": write_status(status),
            "process_started": process.create_time(),
            "good_jobs": good_jobs,
            "host": socket.gethostname(),
        }
        row = {"id": worker_id, "pid": process.pid, "status": facts, "updated_at": now()}
        with self._database.writing(part=worker_id, durable=False) as connection:
            connection.execute(delete(workers).where(workers.c.id == worker_id))
            connection.execute(insert(workers), row)

    def remove(self, worker_id: str) -> int:
        """Delete a dead worker's row; return how many jobs it had finished."""
        with self._database.writing() as connection:
            facts = connection.scalar(select(workers.c.status).where(workers.c.id == worker_id))
            connection.execute(delete(workers).where(workers.c.id == worker_id))
            return int(facts["good_jobs"]) if facts else 0

    def last_status(self, worker_id: str) -> WorkerStatus:
        """Return the last status of this worker, dead or alive; "stopped" without one."""
        with self._database.reading() as connection:
            row = connection.execute(select(workers).where(workers.c.id == worker_id)).one_or_none()
        return read_status(row.status["status"], row.updated_at) if row else WorkerStatus(state="stopped")

    def latest(self, own_pid: int | None = None) -> WorkerStatus:
        """Return the status of a live worker, or "stopped": process `own_pid` first, then this machine's, then others."""
        with self._database.reading() as connection:
            rows = connection.execute(select(workers).order_by(workers.c.updated_at.desc())).all()
        for row in sorted(rows, key=lambda row: (not _is_here(row), row.pid != own_pid)):
            if _lives(row):
                return read_status(row.status["status"], row.updated_at)
        return WorkerStatus(state="stopped")

    def living(self) -> set[str]:
        """Return the ids of live workers: by process on this machine, by heartbeat elsewhere."""
        with self._database.reading() as connection:
            rows = connection.execute(select(workers)).all()
        return {row.id for row in rows if _lives(row)}

    def known(self) -> set[str]:
        """Return the ids of all workers that have a row."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(workers.c.id)))

    def lost(self) -> set[str]:
        """Return the ids of dead workers without a recent heartbeat: their machine is gone, too."""
        with self._database.reading() as connection:
            rows = connection.execute(select(workers)).all()
        return {row.id for row in rows if _silent(row) > AWAY_SECONDS and not _lives(row)}


def requeue_abandoned(queue: JobQueue, registry: WorkerRegistry, detail: Reason) -> None:
    """Requeue the jobs of dead workers with the reason `detail`, and delete those workers' rows."""
    held, known = queue.busy_workers(), registry.known()
    living = registry.living()  # looked up last: a worker is on the registry before it holds anything
    for worker_id in held - living:
        queue.abandon(worker_id, detail)
    for worker_id in known - living:
        registry.remove(worker_id)


def requeue_lost(queue: JobQueue, registry: WorkerRegistry, detail: Reason) -> int:
    """Requeue the jobs of workers whose app is gone, too, delete their rows, and return their number."""
    lost = registry.lost()
    for worker_id in lost:
        queue.abandon(worker_id, detail)
        registry.remove(worker_id)
    return len(lost)


def _is_here(row: Row[Any]) -> bool:
    here = socket.gethostname()
    return bool(row.status.get("host", here) == here)


def _lives(row: Row[Any]) -> bool:
    if _is_here(row):
        return is_alive(row.pid, row.status["process_started"])
    return _silent(row) < AWAY_SECONDS


def _silent(row: Row[Any]) -> float:
    """Return the seconds since a worker's last heartbeat."""
    last = moment(row.updated_at)
    return (datetime.now(UTC) - last).total_seconds() if last is not None else AWAY_SECONDS + 1


BEAT_SECONDS = 2.0  # a worker says this often that it lives


class Heartbeat:
    """Write the status of the calling process, from one thread, with `good_jobs`, the number of finished jobs."""

    def __init__(self, worker_id: str, registry: WorkerRegistry, status: Callable[[str], WorkerStatus]) -> None:
        """`status` returns the status for a state."""
        self._id = worker_id
        self._registry = registry
        self._status = status
        self._written: tuple[object, float] = ("", 0.0)  # what was last written, and when (monotonic seconds)
        self.good_jobs = 0

    def say(self, state: str, more: object = None) -> None:
        """Write the row if `state` or `more` changed or the last one is old. A failure fails no job."""
        written, when = self._written
        if (state, more) == written and time.monotonic() - when < BEAT_SECONDS:
            return
        try:
            self._registry.write(self._id, self._status(state), self.good_jobs)
        except StorageError:
            log.exception("the worker's status could not be written")
        self._written = ((state, more), time.monotonic())


def status_of(state: str, generator: LazyGenerator, unloaded_from: int | None = None) -> WorkerStatus:
    """Return what this process is and has in memory."""
    memory = psutil.Process().memory_info().rss
    allocator = os.environ.get(ALLOCATOR_VARIABLE, "")
    loaded = generator.loaded
    if loaded is None:
        return WorkerStatus(state, os.getpid(), memory_bytes=memory, unloaded_from=unloaded_from, allocator=allocator)
    return WorkerStatus(
        state=state,
        pid=os.getpid(),
        model=loaded.model,
        device=loaded.device,
        memory_bytes=memory,
        load_seconds=loaded.load_seconds,
        decisions=tuple(loaded.decisions),
        versions=loaded.versions,
        asked=loaded.asked,
        effective=loaded.effective,
        capabilities=tuple(loaded.capabilities),
        allocator=allocator,
    )
