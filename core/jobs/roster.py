"""The workers table: what each worker process over this folder last said of itself, and whether it still lives.

What this module does not know: jobs, how a worker is started.
"""

from __future__ import annotations

import psutil
from sqlalchemy import delete, insert, select

from core.jobs.queue import JobQueue
from core.jobs.reasons import Reason
from core.jobs.records import read_status, write_status
from core.storage.database import Database, now
from core.storage.tables import workers
from core.types import WorkerStatus

_SAME_START_SECONDS = 2.0  # a stepped clock moves the start times that the system reports a little


class Roster:
    """One row a worker. Thread-safe as the database is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, worker_id: str, status: WorkerStatus, good_jobs: int) -> None:
        """Put the row of a worker, which must be the calling process: its start time goes with it."""
        process = psutil.Process()
        facts = {"status": write_status(status), "process_started": process.create_time(), "good_jobs": good_jobs}
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

    def latest(self) -> WorkerStatus:
        """The status of the worker that is alive, or "stopped"."""
        with self._database.reading() as connection:
            rows = connection.execute(select(workers).order_by(workers.c.updated_at.desc())).all()
        for row in rows:
            if is_alive(row.pid, row.status["process_started"]):
                return read_status(row.status["status"], row.updated_at)
        return WorkerStatus(state="stopped")

    def living(self) -> set[str]:
        """The ids of the workers whose processes are alive."""
        with self._database.reading() as connection:
            rows = connection.execute(select(workers)).all()
        return {row.id for row in rows if is_alive(row.pid, row.status["process_started"])}

    def known(self) -> set[str]:
        """The ids of all workers that have a row."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(workers.c.id)))


def sweep(queue: JobQueue, roster: Roster, detail: Reason) -> None:
    """Queue again the jobs of workers that are gone, for the reason `detail`, and strike those workers off."""
    held, known = queue.holders(), roster.known()
    living = roster.living()  # looked up last: a worker is on the roster before it holds anything
    for worker_id in held - living:
        queue.abandon(worker_id, detail)
    for worker_id in known - living:
        roster.remove(worker_id)


def is_alive(pid: int, started: float) -> bool:
    """Whether that very process runs: a later one with the same pid has another start time; a zombie runs no more."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
