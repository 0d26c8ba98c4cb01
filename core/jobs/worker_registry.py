"""The workers table: what each worker process over this folder last said of itself, and whether it still lives."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

import psutil
from sqlalchemy import Row, delete, insert, select

from core.jobs.queue import JobQueue
from core.jobs.reasons import Reason
from core.jobs.serialization import read_status, write_status
from core.storage.database import Database, moment, now
from core.storage.tables import workers
from core.types import WorkerStatus

AWAY_SECONDS = 60.0  # a worker of another machine that was silent this long is gone; clocks may differ by half of it
_SAME_START_SECONDS = 2.0  # a stepped clock moves the start times that the system reports a little


class WorkerRegistry:
    """One row a worker. Thread-safe as the database is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, worker_id: str, status: WorkerStatus, good_jobs: int) -> None:
        """Put the row of a worker, which must be the calling process: its start time goes with it."""
        process = psutil.Process()
        facts = {
            "status": write_status(status),
            "process_started": process.create_time(),
            "good_jobs": good_jobs,
            "host": socket.gethostname(),
        }
        row = {"id": worker_id, "pid": process.pid, "status": facts, "updated_at": now()}
        with self._database.writing(part=worker_id) as connection:
            connection.execute(delete(workers).where(workers.c.id == worker_id))
            connection.execute(insert(workers), row)

    def remove(self, worker_id: str) -> int:
        """Strike a dead worker off; how many jobs it had finished well."""
        with self._database.writing() as connection:
            facts = connection.scalar(select(workers.c.status).where(workers.c.id == worker_id))
            connection.execute(delete(workers).where(workers.c.id == worker_id))
            return int(facts["good_jobs"]) if facts else 0

    def last_word(self, worker_id: str) -> WorkerStatus:
        """What this worker last said of itself, dead or alive; "stopped" when it said nothing."""
        with self._database.reading() as connection:
            row = connection.execute(select(workers).where(workers.c.id == worker_id)).one_or_none()
        return read_status(row.status["status"], row.updated_at) if row else WorkerStatus(state="stopped")

    def latest(self, own_pid: int | None = None) -> WorkerStatus:
        """The status of a worker that is alive, or "stopped": the process `own_pid` first, then this machine's, then others'."""
        with self._database.reading() as connection:
            rows = connection.execute(select(workers).order_by(workers.c.updated_at.desc())).all()
        for row in sorted(rows, key=lambda row: (not _is_here(row), row.pid != own_pid)):
            if _lives(row):
                return read_status(row.status["status"], row.updated_at)
        return WorkerStatus(state="stopped")

    def living(self) -> set[str]:
        """The ids of the workers that live: their processes here, their words lately elsewhere."""
        with self._database.reading() as connection:
            rows = connection.execute(select(workers)).all()
        return {row.id for row in rows if _lives(row)}

    def known(self) -> set[str]:
        """The ids of all workers that have a row."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(workers.c.id)))

    def lost(self) -> set[str]:
        """The ids of the workers that are gone and of which nobody has said so for long: their machine is gone, too."""
        with self._database.reading() as connection:
            rows = connection.execute(select(workers)).all()
        return {row.id for row in rows if _silent(row) > AWAY_SECONDS and not _lives(row)}


def sweep(queue: JobQueue, roster: WorkerRegistry, detail: Reason) -> None:
    """Queue again the jobs of workers that are gone, for the reason `detail`, and strike those workers off."""
    held, known = queue.holders(), roster.known()
    living = roster.living()  # looked up last: a worker is on the roster before it holds anything
    for worker_id in held - living:
        queue.abandon(worker_id, detail)
    for worker_id in known - living:
        roster.remove(worker_id)


def sweep_lost(queue: JobQueue, roster: WorkerRegistry, detail: Reason) -> int:
    """Queue again the jobs of workers whose app is gone, too, and strike those workers off; how many there were."""
    lost = roster.lost()
    for worker_id in lost:
        queue.abandon(worker_id, detail)
        roster.remove(worker_id)
    return len(lost)


def _is_here(row: Row[Any]) -> bool:
    here = socket.gethostname()
    return bool(row.status.get("host", here) == here)


def _lives(row: Row[Any]) -> bool:
    if _is_here(row):
        return is_alive(row.pid, row.status["process_started"])
    return _silent(row) < AWAY_SECONDS


def _silent(row: Row[Any]) -> float:
    """Seconds since a worker's last word."""
    last = moment(row.updated_at)
    return (datetime.now(UTC) - last).total_seconds() if last is not None else AWAY_SECONDS + 1


def is_alive(pid: int, started: float) -> bool:
    """Whether that very process runs: a later one with the same pid has another start time; a zombie runs no more."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
