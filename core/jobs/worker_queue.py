"""Claim, report and end jobs: the queue as workers and their supervisor use it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, func, select, update

from core.errors import Cancelled, CrashLoopError, GenerationError, StudioError, WorkerDiedError
from core.jobs import job_rows
from core.jobs.generator_protocol import Reason
from core.jobs.job_rows import ENDED, IN_WORK, IllegalTransition, end_job, not_before, requeue_job
from core.jobs.serialization import UnreadableRequest, read_request, write_progress
from core.storage.database import Database, now
from core.storage.dialects import upsert
from core.storage.tables import jobs, previews
from core.types import Job, JobState, Phase, Progress

MAX_CRASHES = 3  # a job that a worker died of this often is not run again by itself

log = logging.getLogger(__name__)


class WorkerQueue:
    """The jobs table for workers and supervisors. Thread-safe as the database is."""

    def __init__(self, database: Database, worker_id: str | None = None) -> None:
        """Open the queue. With `worker_id`, only jobs that this worker runs are changed.

        A machine that was unreachable for long may return to a job that another worker has taken over.
        """
        self._database = database
        self._worker_id = worker_id

    # -- the worker's side -----------------------------------------------------------------------------------------

    def has_waiting(self) -> bool:
        """Return True if a claim would find a job; one index look-up, for polling."""
        with self._database.reading() as connection:
            return connection.execute(job_rows.select_next(), {"now": now()}).first() is not None

    def claim(self, worker_id: str, running: Collection[str] | None = None) -> Job | None:
        """Take the next job (state loading), or None. Jobs whose stored request can't be read fail here.

        With `running`, the jobs that this worker knows of, another one that it has claimed comes first: the connection
        was lost between the commit of that claim and the answer.
        """
        with self._database.writing() as connection:
            mine = select(jobs.c.id).where(jobs.c.state == JobState.LOADING, jobs.c.worker == worker_id)
            for job_id in connection.scalars(mine.order_by(jobs.c.number)) if running is not None else ():
                if job_id not in (running or ()):
                    return job_rows.get_job(connection, job_id)
            while (row := connection.execute(job_rows.select_next(), {"now": now()}).first()) is not None:
                try:
                    read_request(row.request, row.pictures)
                except UnreadableRequest as problem:
                    end_job(connection, row.id, JobState.FAILED, GenerationError(detail=problem))
                    continue
                began = not_before(connection, row.id, now())
                taken = {"state": JobState.LOADING, "worker": worker_id, "started_at": began, "reported_at": began}
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(taken))
                return job_rows.get_job(connection, row.id)
            return None

    def report(self, job_id: str, progress: Progress, waits_for: StudioError | None = None) -> bool:
        """Store a job's progress; it is running from the first phase after loading. A preview replaces the last one.

        `waits_for` becomes the job's error: what keeps it from going on at present. Returns True if the job is to be
        cancelled or paused. Raises Cancelled when the job is not this worker's any more.
        """
        values: dict[str, Any] = {
            "progress": write_progress(progress),
            "reported_at": now(),
            **({"state": JobState.RUNNING} if progress.phase is not Phase.LOADING else {}),
            **({"error": waits_for.to_dict()} if waits_for is not None else {}),
        }
        own = update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(IN_WORK))
        if self._worker_id is not None:
            own = own.where(jobs.c.worker == self._worker_id)
        with self._database.writing(part=job_id, durable=False) as connection:
            if not connection.execute(own.values(values)).rowcount:
                if not self._owns(connection, job_id):
                    raise Cancelled
                present = job_rows.state_of(connection, job_id)
                raise IllegalTransition(f"job {job_id} is {present} and reports without having been claimed")
            stopped = connection.scalar(select(jobs.c.cancel_requested | jobs.c.held).where(jobs.c.id == job_id))
            if progress.preview is not None:
                latest = {"job_id": job_id, "image": progress.preview}
                upsert(connection, previews, latest, "job_id")
            return bool(stopped)

    def is_cancel_requested(self, job_id: str) -> bool:
        """Return True if the job is to be cancelled."""
        with self._database.reading() as connection:
            return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)))

    def is_stop_requested(self, job_id: str) -> bool:
        """Return True if the job is to be cancelled or paused; cheap enough for every step."""
        with self._database.reading() as connection:
            commands = select(jobs.c.cancel_requested | jobs.c.held).where(jobs.c.id == job_id)
            return bool(connection.scalar(commands))

    def finish(self, job_id: str, state: JobState, error: StudioError | None = None) -> None:
        """End a job and delete its preview. IllegalTransition when it can't end like this."""
        if state not in ENDED:
            raise IllegalTransition(f"job {job_id} can't end as {state}")
        with self._database.writing() as connection:
            if self._owns(connection, job_id):
                end_job(connection, job_id, state, error)

    def requeue(self, job_id: str) -> None:
        """Put a running job back at its place, because its worker ends or the job was paused."""
        with self._database.writing() as connection:
            if self._owns(connection, job_id):
                requeue_job(connection, job_id, {})

    def _owns(self, connection: Connection, job_id: str) -> bool:
        """Return True if this worker runs the job, or no worker id was given."""
        if self._worker_id is None:
            return True
        holder = connection.scalar(select(jobs.c.worker).where(jobs.c.id == job_id, jobs.c.state.in_(IN_WORK)))
        if holder != self._worker_id:
            log.warning("job %s is not this worker's any more: %s has it", job_id, holder or "nobody")
        return bool(holder == self._worker_id)

    # -- the supervisor's side -------------------------------------------------------------------------------------

    def busy_workers(self) -> set[str]:
        """Return the ids of workers that run a job."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(jobs.c.worker).where(jobs.c.state.in_(IN_WORK))))

    def last_report(self, worker_id: str) -> str | None:
        """Return when this worker last reported on a running job, by its clock; None without one."""
        running = select(func.max(jobs.c.reported_at)).where(jobs.c.state.in_(IN_WORK), jobs.c.worker == worker_id)
        with self._database.reading() as connection:
            last: str | None = connection.scalar(running)
            return last

    def abandon(self, worker_id: str, detail: Reason, job_id: str | None = None) -> list[Job]:
        """Requeue what a dead worker was running, all jobs or one; return them as they are then.

        A job to be cancelled is cancelled; one that workers died of MAX_CRASHES times has failed.
        """
        held = select(jobs.c.id, jobs.c.crashes, jobs.c.cancel_requested).order_by(jobs.c.number)
        held = held if job_id is None else held.where(jobs.c.id == job_id)
        with self._database.writing() as connection:
            rows = connection.execute(held.where(jobs.c.state.in_(IN_WORK), jobs.c.worker == worker_id)).all()
            for row in rows:
                crashes = row.crashes + 1
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(crashes=crashes))
                if row.cancel_requested:
                    end_job(connection, row.id, JobState.CANCELLED, None)
                elif crashes >= MAX_CRASHES:
                    end_job(connection, row.id, JobState.FAILED, CrashLoopError(crashes=crashes, detail=detail))
                else:
                    requeue_job(connection, row.id, {"error": WorkerDiedError(detail=detail).to_dict()})
            return [job_rows.get_job(connection, row.id) for row in rows]
