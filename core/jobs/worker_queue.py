"""The queue as those see it who do the work: a worker claims a job, reports and ends it; a supervisor looks after workers.

Every change is one transaction that checks the state it starts from, so two processes can never both believe that a job is
theirs.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, func, select, update

from core.errors import Cancelled, CrashLoopError, GenerationError, StudioError, WorkerDiedError
from core.jobs import job_queries
from core.jobs.job_writes import end_job, requeue_job
from core.jobs.reasons import Reason
from core.jobs.serialization import UnreadableRequest, read_request, write_progress
from core.jobs.states import ENDED, IN_WORK, IllegalTransition, check_transition
from core.storage.database import Database, moment, now
from core.storage.dialects import upsert
from core.storage.tables import jobs, previews
from core.types import Job, JobState, Phase, Progress

MOST_CRASHES = 3  # a job that a worker died of this often is not run again by itself

log = logging.getLogger(__name__)


class WorkerQueue:
    """The jobs table and its previews, for workers and supervisors. Thread-safe as the database is."""

    def __init__(self, database: Database, worker_id: str | None = None) -> None:
        """`worker_id`: it speaks for this worker, whose word counts for the jobs that it has in work and no others.

        A machine that was out of reach for long may come back to a job that another has taken over meanwhile.
        """
        self._database = database
        self._worker_id = worker_id

    # -- the worker's side -----------------------------------------------------------------------------------------

    def has_waiting(self) -> bool:
        """Whether a claim would find a job: one look into an index, for polling."""
        with self._database.reading() as connection:
            return connection.execute(job_queries.next_in_line(), {"now": now()}).first() is not None

    def claim(self, worker_id: str) -> Job | None:
        """Take the next job (state loading), or None. Jobs whose stored request can't be read fail on the way."""
        with self._database.writing() as connection:
            while (row := connection.execute(job_queries.next_in_line(), {"now": now()}).first()) is not None:
                try:
                    read_request(row.request, row.pictures)
                except UnreadableRequest as problem:
                    end_job(connection, row.id, JobState.FAILED, GenerationError(detail=problem))
                    continue
                began = now()
                taken = {"state": JobState.LOADING, "worker": worker_id, "started_at": began, "reported_at": began}
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(taken))
                return job_queries.one(connection, row.id)
            return None

    def report(self, job_id: str, progress: Progress) -> None:
        """Store where a job is; it is running from the first phase after loading. A preview replaces the one before.

        Raises Cancelled when it is not this worker's any more.
        """
        with self._database.writing(part=job_id) as connection:
            if not self._may_speak(connection, job_id):
                raise Cancelled
            present = job_queries.state_of(connection, job_id)
            loading = progress.phase is Phase.LOADING and present is not JobState.RUNNING
            following = JobState.LOADING if loading else JobState.RUNNING
            if present not in IN_WORK:
                raise IllegalTransition(f"job {job_id} is {present} and reports without having been claimed")
            check_transition(job_id, present, following)
            values = {"state": following, "progress": write_progress(progress), "reported_at": now()}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
            if progress.preview is not None:
                latest = {"job_id": job_id, "image": progress.preview}
                upsert(connection, previews, latest, "job_id")

    def is_cancel_requested(self, job_id: str) -> bool:
        """Whether someone asked to stop this job for good."""
        with self._database.reading() as connection:
            return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)))

    def is_stop_requested(self, job_id: str) -> bool:
        """Whether someone asked to cancel or to pause this job; cheap enough for every step."""
        with self._database.reading() as connection:
            wishes = select(jobs.c.cancel_requested | jobs.c.held).where(jobs.c.id == job_id)
            return bool(connection.scalar(wishes))

    def finish(self, job_id: str, state: JobState, error: StudioError | None = None) -> None:
        """End a job and drop its preview. IllegalTransition when it can't end like this from where it is."""
        if state not in ENDED:
            raise IllegalTransition(f"job {job_id} can't end as {state}")
        with self._database.writing() as connection:
            if self._may_speak(connection, job_id):
                end_job(connection, job_id, state, error)

    def give_back(self, job_id: str) -> None:
        """Queue a job in work again, at its place, because its worker was told to end or the job was paused."""
        with self._database.writing() as connection:
            if self._may_speak(connection, job_id):
                requeue_job(connection, job_id, {})

    def _may_speak(self, connection: Connection, job_id: str) -> bool:
        """Whether the job is this worker's; anyone may who speaks for none."""
        if self._worker_id is None:
            return True
        holder = connection.scalar(select(jobs.c.worker).where(jobs.c.id == job_id, jobs.c.state.in_(IN_WORK)))
        if holder != self._worker_id:
            log.warning("job %s is not this worker's any more: %s has it", job_id, holder or "nobody")
        return bool(holder == self._worker_id)

    # -- the supervisor's side -------------------------------------------------------------------------------------

    def holders(self) -> set[str]:
        """The ids of the workers that have a job in work."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(jobs.c.worker).where(jobs.c.state.in_(IN_WORK))))

    def silence(self, worker_id: str) -> float:
        """Seconds since this worker last reported on the job that it has in work; 0 when it has none."""
        held = select(func.max(jobs.c.reported_at)).where(jobs.c.state.in_(IN_WORK), jobs.c.worker == worker_id)
        with self._database.reading() as connection:
            last = moment(connection.scalar(held))
        present = moment(now())
        return (present - last).total_seconds() if last and present else 0.0

    def abandon(self, worker_id: str, detail: Reason, job_id: str | None = None) -> list[Job]:
        """Queue again, at its place, what a dead worker had in work, all or one of it; the jobs as they are then.

        A job that was to be cancelled is cancelled; one that workers died of MOST_CRASHES times has failed.
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
                elif crashes >= MOST_CRASHES:
                    end_job(connection, row.id, JobState.FAILED, CrashLoopError(crashes=crashes, detail=detail))
                else:
                    requeue_job(connection, row.id, {"error": WorkerDiedError(detail=detail).to_dict()})
            return [job_queries.one(connection, row.id) for row in rows]
