"""Queue jobs durably: one row a job, ordered by priority, then first in, first out.

Pages submit, look at, reorder and cancel jobs here; workers use `WorkerQueue`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from core.jobs import job_rows
from core.jobs.job_rows import (
    ACTIVE,
    AS_NEW,
    ENDED,
    add_job,
    cancel_job,
    check_client_limit,
    job_of_key,
    last_place,
    place_after,
    place_before,
    require_state,
)
from core.jobs.worker_queue import WorkerQueue
from core.storage.database import Database, timestamp
from core.storage.dialects import ChangeToken
from core.storage.tables import jobs, previews, switches
from core.types import GenerationRequest, Job, JobState, QueueSnapshot, SubmitOptions


class ChangeWatch:
    """Tell whether another connection has committed to the database. For one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._news = database.news()
        self._seen: object = None

    def changed(self) -> bool:
        """Return True the first time and after each commit since the last call; takes microseconds."""
        before, self._seen = self._seen, self._news.mark()
        return before != self._seen

    def close(self) -> None:
        """Close the file handle or connection."""
        self._news.close()


class QueueCache:
    """Keep the last snapshot that `read` returned. Thread-safe; opens the database at the first call."""

    def __init__(self, watch: Callable[[], ChangeWatch], read: Callable[[], QueueSnapshot]) -> None:
        self._watch = watch
        self._read = read
        self._changes: ChangeWatch | None = None
        self._kept: QueueSnapshot | None = None
        self._guard = threading.Lock()

    def look(self) -> QueueSnapshot:
        """Return the current snapshot; the same object until something is written."""
        with self._guard:
            if self._changes is None:
                self._changes = self._watch()
            if self._changes.changed():
                self._kept = None
            if self._kept is None:  # also when the last reading failed
                self._kept = self._read()
            return self._kept


MAX_SHOWN = 200  # jobs of a snapshot; `JobQueue.active` reads on after the last of them


class JobQueue(WorkerQueue):
    """The jobs table with its previews. Thread-safe as the database is; any number of processes may open it."""

    def __init__(
        self,
        database: Database,
        worker_id: str | None = None,
        prepare: Callable[[GenerationRequest], GenerationRequest] = lambda request: request,
    ) -> None:
        """Open the queue. `prepare` checks and completes each request before it is queued."""
        super().__init__(database, worker_id)
        self.prepare = prepare
        self._cache = QueueCache(lambda: ChangeWatch(database), self._read_snapshot)
        self._changes: ChangeToken | None = None
        self._guard = threading.Lock()

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
                return job_rows.get_job(connection, known)
            if most is not None:
                check_client_limit(connection, terms.client, most)
            self._admit(connection, terms, [request])
            return job_rows.get_job(connection, add_job(connection, request, terms))

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
                check_client_limit(connection, terms.client, most, len(requests))
            self._admit(connection, terms, requests)
            ids = [add_job(connection, request, terms) for request in requests]
            keep(connection, ids)
            return [job_rows.get_job(connection, job_id) for job_id in ids]

    def _admit(self, connection: Connection, terms: SubmitOptions, requests: Sequence[GenerationRequest]) -> None:
        """Raise where these requests may not be queued, in the transaction that would write them."""

    def get(self, job_id: str) -> Job:
        """Return a job. NotFoundError when there is none."""
        with self._database.reading() as connection:
            return job_rows.get_job(connection, job_id)

    def recent(self, limit: int = 50) -> Sequence[Job]:
        """Return the latest jobs, newest first."""
        with self._database.reading() as connection:
            return job_rows.read_jobs(connection, job_rows.select_jobs().order_by(jobs.c.number.desc()).limit(limit))

    def ended(self, limit: int) -> Sequence[Job]:
        """Return jobs that are done, failed or cancelled, the latest submitted first."""
        wanted = job_rows.select_jobs().where(jobs.c.state.in_(ENDED)).order_by(jobs.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            return job_rows.read_jobs(connection, wanted)

    def active(
        self, limit: int = MAX_SHOWN, client: str | None = None, after: str | None = None, other_than: str | None = None
    ) -> Sequence[Job]:
        """Return running jobs, then waiting ones in the order of running; of one client, of the others, or of all.

        `after` is the id of a job: the jobs that follow it are returned. NotFoundError when there is none.
        """
        with self._database.reading() as connection:
            return job_rows.read_active(connection, limit, client, after, other_than)

    def count_active(self, client: str | None = None) -> int:
        """Return the number of running and waiting jobs, of one client or of all."""
        counted = select(func.count()).select_from(jobs).where(jobs.c.state.in_(ACTIVE))
        with self._database.reading() as connection:
            return connection.scalar(counted if client is None else counted.where(jobs.c.client == client)) or 0

    def totals(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        with self._database.reading() as connection:
            counted = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
            return {str(state): int(count) for state, count in counted}

    def marks(self, job_ids: Collection[str]) -> dict[str, tuple[Any, ...]]:
        """Return for each of these jobs its state and what else changes in its row; nothing for those that there are not."""
        with self._database.reading() as connection:
            rows = connection.execute(job_rows.select_marks(), {"ids": list(job_ids)})
            return {row.id: tuple(row[1:]) for row in rows}

    def positions(self, job_ids: Collection[str]) -> dict[str, int]:
        """Return the position in the queue, from 1, of those of these jobs that may run."""
        with self._database.reading() as connection:
            return job_rows.read_positions(connection, job_ids)

    def change_mark(self) -> object:
        """Return what is another value after each commit to the database. Microseconds for a file, a query for a server."""
        with self._guard:
            self._changes = self._changes or self._database.news()
            return self._changes.mark()

    @property
    def is_shared(self) -> bool:
        """Return whether the database is a server's."""
        return self._database.is_shared

    def snapshot(self) -> QueueSnapshot:
        """Return running and waiting jobs as one snapshot: the same object until something is written."""
        return self._cache.look()

    def _read_snapshot(self) -> QueueSnapshot:
        with self._database.reading() as connection:
            paused = connection.scalar(job_rows.select_paused()) is not None
            newest = connection.scalar(select(func.max(jobs.c.number))) or 0
            shown = job_rows.read_active(connection, MAX_SHOWN)
            total = len(shown)
            if total == MAX_SHOWN:
                counted = select(func.count()).select_from(jobs).where(jobs.c.state.in_(ACTIVE))
                total = connection.scalar(counted) or 0
            return QueueSnapshot(tuple(shown), paused, newest, total)

    def cancel(self, job_id: str) -> Job:
        """Cancel a waiting job now, or mark a running one for its worker; an ended job stays as it is."""
        with self._database.writing() as connection:
            cancel_job(connection, job_id)
            return job_rows.get_job(connection, job_id)

    def clear(self, client: str | None = None) -> int:
        """Cancel all waiting jobs (of one client, or of all) and return their number. Running jobs continue."""
        waiting = select(jobs.c.id).where(jobs.c.state == JobState.QUEUED)
        with self._database.writing() as connection:
            ids = list(connection.scalars(waiting if client is None else waiting.where(jobs.c.client == client)))
            for job_id in ids:
                cancel_job(connection, job_id)
            return len(ids)

    def pause_job(self, job_id: str, paused: bool) -> Job:
        """Pause or resume a job. A running one stops within a step and waits; its finished images are kept.

        JobStateError when it has ended.
        """
        with self._database.writing() as connection:
            require_state(connection, job_id, "pause", ACTIVE)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(held=paused))
            return job_rows.get_job(connection, job_id)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again, at the end; only its missing images are generated."""
        with self._database.writing() as connection:
            require_state(connection, job_id, "retry", (JobState.FAILED, JobState.CANCELLED))
            again = {**AS_NEW, "place": last_place(connection), "held": False, "crashes": 0, "error": None}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values({**again, "not_before": None}))
            return job_rows.get_job(connection, job_id)

    def move(self, job_id: str, position: int) -> Job:
        """Put a queued job at `position` (from 1) of all queued jobs; its priority changes if that needs it."""
        with self._database.writing() as connection:
            require_state(connection, job_id, "move", (JobState.QUEUED,))
            own = select(jobs.c.number, jobs.c.priority, jobs.c.place).where(jobs.c.id == job_id)
            mine = connection.execute(own).one()
            before, following = self._neighbours(connection, mine.number, position)
            priority = mine.priority if following is None else max(mine.priority, following.priority)
            priority = priority if before is None else min(priority, before.priority)
            place = mine.place
            if following is not None and following.priority == priority:
                place = place_before(connection, job_id, following.place)
            elif before is not None and before.priority == priority:
                place = place_after(connection, job_id, before.place)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(priority=priority, place=place))
        return JobQueue.get(self, job_id)  # its position is counted after the lock is given back: others wait for that

    def _neighbours(self, connection: Connection, number: int, position: int) -> tuple[Any, Any]:
        """Return the queued jobs that a job would stand between at `position` (from 1, clamped), without itself."""
        others = select(jobs.c.priority, jobs.c.place).where(jobs.c.state == JobState.QUEUED, jobs.c.number != number)
        line = others.order_by(*job_rows.RUN_ORDER)
        if position <= 1:
            return None, connection.execute(line.limit(1)).one_or_none()
        found = connection.execute(line.offset(position - 2).limit(2)).all()
        if not found:  # beyond the end
            last = others.order_by(jobs.c.priority, jobs.c.place.desc()).limit(1)
            return connection.execute(last).one_or_none(), None
        return found[0], found[1] if len(found) > 1 else None

    def first_position(self, job: Job) -> int:
        """Return the first position that a waiting job may be moved to."""
        return 1

    def prioritise(self, job_id: str, priority: int) -> Job:
        """Give a queued job another priority; it keeps its place among jobs of equal priority."""
        with self._database.writing() as connection:
            require_state(connection, job_id, "priority", (JobState.QUEUED,))
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(priority=priority))
            return job_rows.get_job(connection, job_id)

    def postpone(self, job_id: str, not_before: datetime | None) -> Job:
        """Let a queued job wait until a time (aware), or no longer; it keeps its place."""
        with self._database.writing() as connection:
            require_state(connection, job_id, "run later", (JobState.QUEUED,))
            until = timestamp(not_before) if not_before else None
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(not_before=until))
            return job_rows.get_job(connection, job_id)

    def pause(self, paused: bool) -> None:
        """Pause or resume the whole queue. Running jobs are finished."""
        with self._database.writing() as connection:
            connection.execute(delete(switches).where(switches.c.name == job_rows.PAUSED))
            if paused:
                connection.execute(insert(switches), {"name": job_rows.PAUSED})

    def is_paused(self) -> bool:
        """Return True while the queue is paused."""
        with self._database.reading() as connection:
            return connection.scalar(job_rows.select_paused()) is not None

    def give_back(self, given: bool) -> None:
        """Have the workers give the GPU back within a step and leave it alone, or let them use it again."""
        with self._database.writing() as connection:
            connection.execute(delete(switches).where(switches.c.name == job_rows.GIVEN_BACK))
            if given:
                connection.execute(insert(switches), {"name": job_rows.GIVEN_BACK})

    def is_given_back(self) -> bool:
        """Return True while the workers leave the GPU alone."""
        with self._database.reading() as connection:
            wanted = select(switches.c.name).where(switches.c.name == job_rows.GIVEN_BACK)
            return connection.scalar(wanted) is not None

    def preview(self, job_id: str) -> bytes | None:
        """Return the latest preview of a running job, a small WebP."""
        with self._database.reading() as connection:
            image: bytes | None = connection.scalar(select(previews.c.image).where(previews.c.job_id == job_id))
            return image
