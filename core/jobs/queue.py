"""The durable queue: one row a job, by priority, then first in, first out.

Pages add jobs, look at them, reorder and stop them: that is here. What workers do with them is in `workbench`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from core.jobs import job_queries
from core.jobs.changes import ChangeWatch
from core.jobs.job_writes import AS_NEW, add_job, cancel_job, check_room, demand, end_of_line, job_of_key
from core.jobs.queue_cache import QueueCache
from core.jobs.reordering import moved
from core.jobs.states import ACTIVE
from core.jobs.worker_queue import WorkerQueue
from core.storage.database import Database, stamp
from core.storage.tables import jobs, previews, switches
from core.types import GenerationRequest, Job, JobState, QueueSnapshot, SubmitOptions

MOST_SHOWN = 200  # jobs on the board: nobody reads more


class JobQueue(WorkerQueue):
    """The jobs table and its previews, all sides. Thread-safe as the database is; any number of processes may open it."""

    def __init__(
        self,
        database: Database,
        worker_id: str | None = None,
        prepare: Callable[[GenerationRequest], GenerationRequest] = lambda request: request,
    ) -> None:
        """`prepare` checks and completes each request before it is queued."""
        super().__init__(database, worker_id)
        self.prepare = prepare
        self._board = QueueCache(lambda: ChangeWatch(database), self._read_board)

    def submit(self, request: GenerationRequest, terms: SubmitOptions | None = None, most: int | None = None) -> Job:
        """Check a request and put it at the end of the queue. It is on disk when this returns.

        A client that sends the same key again gets the job that the key was first used for.

        Raises:
            InputError, ModelFileError: the request can't be used.
            QueueFullError: the client has `most` active jobs already.
            KeyReusedError: the key belongs to another request.
            StorageError: the job could not be written.
        """
        request = self.prepare(request)
        terms = terms or SubmitOptions()
        with self._database.writing() as connection:
            known = job_of_key(connection, terms)
            if known is not None:
                return job_queries.one(connection, known)
            if most is not None:
                check_room(connection, terms.client, most)
            return job_queries.one(connection, add_job(connection, request, terms))

    def submit_all(
        self,
        requests: Sequence[GenerationRequest],
        terms: SubmitOptions | None,
        keep: Callable[[Connection, Sequence[str]], None],
        most: int | None = None,
    ) -> Sequence[Job]:
        """Check requests and put all of them at the end of the queue, in this order, or none.

        `keep` gets the connection and the ids of the jobs, and may write more in the same transaction.

        Raises:
            QueueFullError: the client would have more than `most` active jobs.
            InputError, ModelFileError, StorageError: as `submit`.
        """
        requests = [self.prepare(request) for request in requests]
        terms = terms or SubmitOptions()
        with self._database.writing() as connection:
            if most is not None:
                check_room(connection, terms.client, most, len(requests))
            ids = [add_job(connection, request, terms) for request in requests]
            keep(connection, ids)
            return [job_queries.one(connection, job_id) for job_id in ids]

    def get(self, job_id: str) -> Job:
        """A snapshot; NotFoundError when there is none."""
        with self._database.reading() as connection:
            return job_queries.one(connection, job_id)

    def recent(self, limit: int = 50) -> Sequence[Job]:
        """The latest `limit` jobs, newest first."""
        with self._database.reading() as connection:
            return job_queries.read(connection, job_queries.snapshots().order_by(jobs.c.number.desc()).limit(limit))

    def active(self, limit: int = MOST_SHOWN) -> Sequence[Job]:
        """All that can still change: what is in work, then what waits, in the order of running."""
        with self._database.reading() as connection:
            return job_queries.read(connection, job_queries.active().limit(limit))

    def snapshot(self) -> QueueSnapshot:
        """What can still change, as one snapshot: the same object until somebody writes to the database."""
        return self._board.look()

    def _read_board(self) -> QueueSnapshot:
        with self._database.reading() as connection:
            paused = connection.scalar(job_queries.paused()) is not None
            newest = connection.scalar(select(func.max(jobs.c.number))) or 0
            return QueueSnapshot(
                tuple(job_queries.read(connection, job_queries.active().limit(MOST_SHOWN))), paused, newest
            )

    def cancel(self, job_id: str) -> Job:
        """A queued job is cancelled now; one in work is marked for its worker; an ended one stays as it is."""
        with self._database.writing() as connection:
            cancel_job(connection, job_id)
            return job_queries.one(connection, job_id)

    def clear(self, client: str | None = None) -> int:
        """Cancel everything that waits (of one client, or of all); how many that were. What is in work goes on."""
        waiting = select(jobs.c.id).where(jobs.c.state == JobState.QUEUED)
        with self._database.writing() as connection:
            ids = list(connection.scalars(waiting if client is None else waiting.where(jobs.c.client == client)))
            for job_id in ids:
                cancel_job(connection, job_id)
            return len(ids)

    def pause_job(self, job_id: str, paused: bool) -> Job:
        """Pause or resume a job. One in work stops within a step and waits; its finished pictures are kept.

        JobStateError when it has ended.
        """
        with self._database.writing() as connection:
            demand(connection, job_id, "pause", ACTIVE)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(held=paused))
            return job_queries.one(connection, job_id)

    def retry(self, job_id: str) -> Job:
        """Put a failed or cancelled job at the end again; only the pictures that it lacks are made."""
        with self._database.writing() as connection:
            demand(connection, job_id, "retry", (JobState.FAILED, JobState.CANCELLED))
            again = {**AS_NEW, "place": end_of_line(connection), "held": False, "crashes": 0, "error": None}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values({**again, "not_before": None}))
            return job_queries.one(connection, job_id)

    def move(self, job_id: str, position: int) -> Job:
        """Put a queued job at `position` (from 1) of all that is queued; it takes the priority that this needs."""
        with self._database.writing() as connection:
            demand(connection, job_id, "move", (JobState.QUEUED,))
            columns = select(jobs.c.id, jobs.c.priority, jobs.c.place)
            line = connection.execute(columns.where(jobs.c.state == JobState.QUEUED).order_by(*job_queries.TURN)).all()
            for changed, priority, place in moved(
                [(row.id, row.priority, row.place) for row in line], job_id, position
            ):
                connection.execute(update(jobs).where(jobs.c.id == changed).values(priority=priority, place=place))
            return job_queries.one(connection, job_id)

    def prioritise(self, job_id: str, priority: int) -> Job:
        """Give a queued job another priority; it keeps its place among those that have it."""
        with self._database.writing() as connection:
            demand(connection, job_id, "priority", (JobState.QUEUED,))
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(priority=priority))
            return job_queries.one(connection, job_id)

    def postpone(self, job_id: str, not_before: datetime | None) -> Job:
        """Let a queued job wait until then (aware), or no longer; it keeps its place."""
        with self._database.writing() as connection:
            demand(connection, job_id, "run later", (JobState.QUEUED,))
            until = stamp(not_before) if not_before else None
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(not_before=until))
            return job_queries.one(connection, job_id)

    def pause(self, paused: bool) -> None:
        """Keep every waiting job waiting, or let them go on. What is in work is finished."""
        with self._database.writing() as connection:
            connection.execute(delete(switches).where(switches.c.name == job_queries.PAUSED))
            if paused:
                connection.execute(insert(switches), {"name": job_queries.PAUSED})

    def is_paused(self) -> bool:
        """Whether `pause` keeps everything waiting."""
        with self._database.reading() as connection:
            return connection.scalar(job_queries.paused()) is not None

    def preview(self, job_id: str) -> bytes | None:
        """The latest preview of a job in work, a small WebP."""
        with self._database.reading() as connection:
            image: bytes | None = connection.scalar(select(previews.c.image).where(previews.c.job_id == job_id))
            return image
