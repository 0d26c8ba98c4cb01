"""The durable queue: one row a job, by priority, then first in, first out.

Pages add jobs, look at them, reorder and stop them; one worker claims them, reports and finishes. Every change is one
transaction that checks the state it starts from, so two processes can never both believe that a job is theirs.
What this module does not know: processes, pictures, torch.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from core.errors import (
    CrashLoopError,
    GenerationError,
    JobStateError,
    KeyReusedError,
    QueueFullError,
    StudioError,
    WorkerDiedError,
)
from core.jobs import snapshots
from core.jobs.order import moved
from core.jobs.reasons import Reason
from core.jobs.records import UnreadableRequest, read_request, write_progress, write_request
from core.jobs.states import ACTIVE, ENDED, IN_WORK, IllegalTransition, check_transition
from core.storage.database import Database, moment, now, stamp
from core.storage.tables import batches, jobs, previews, switches
from core.types import GenerationRequest, Job, JobState, JobTerms, Phase, Progress

MOST_CRASHES = 3  # a job that a worker died of this often is not run again by itself
_AS_NEW: Mapping[str, Any] = {
    "state": JobState.QUEUED,
    "worker": None,
    "progress": None,
    "started_at": None,
    "finished_at": None,
    "cancel_requested": False,
}


class JobQueue:
    """The jobs table and its previews. Thread-safe as the database is; any number of processes may open it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- the page's side -------------------------------------------------------------------------------------------

    def add(self, request: GenerationRequest, terms: JobTerms | None = None, most: int | None = None) -> Job:
        """Put a complete request at the end. It is on disk when this returns; StorageError when it can't be.

        QueueFullError when the client has `most` active jobs already; KeyReusedError when its key stands for another
        request. The job of a key that came before is given as it is.
        """
        terms = terms or JobTerms()
        with self._database.writing() as connection:
            known = _of_key(connection, terms)
            if known is not None:
                return snapshots.one(connection, known)
            if most is not None:
                _check_room(connection, terms.client, most)
            job_id = new_id()
            connection.execute(insert(jobs), _row(job_id, request, terms, _end_of_line(connection)))
            if request.pictures:
                own = [dict(picture) for picture in request.pictures]
                connection.execute(insert(batches), {"job_id": job_id, "pictures": own})
            return snapshots.one(connection, job_id)

    def get(self, job_id: str) -> Job:
        """A snapshot; NotFoundError when there is none."""
        with self._database.reading() as connection:
            return snapshots.one(connection, job_id)

    def recent(self, limit: int) -> Sequence[Job]:
        """The latest `limit` jobs, newest first."""
        with self._database.reading() as connection:
            return snapshots.read(connection, snapshots.snapshots().order_by(jobs.c.number.desc()).limit(limit))

    def active(self, limit: int) -> Sequence[Job]:
        """All that can still change: what is in work, then what waits, in the order of running."""
        with self._database.reading() as connection:
            return snapshots.read(connection, snapshots.active().limit(limit))

    def request_cancel(self, job_id: str) -> Job:
        """A queued job is cancelled now; one in work is marked for its worker; an ended one stays as it is."""
        with self._database.writing() as connection:
            _cancel(connection, job_id)
            return snapshots.one(connection, job_id)

    def clear(self, client: str | None = None) -> int:
        """Cancel everything that waits (of one client, or of all); how many that were. What is in work goes on."""
        waiting = select(jobs.c.id).where(jobs.c.state == JobState.QUEUED)
        with self._database.writing() as connection:
            ids = list(connection.scalars(waiting if client is None else waiting.where(jobs.c.client == client)))
            for job_id in ids:
                _cancel(connection, job_id)
            return len(ids)

    def hold(self, job_id: str, held: bool) -> Job:
        """Pause a job, or let it go on. One in work stops within a step and waits; its finished pictures are kept.

        JobStateError when it has ended.
        """
        with self._database.writing() as connection:
            _demand(connection, job_id, "pause", ACTIVE)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(held=held))
            return snapshots.one(connection, job_id)

    def retry(self, job_id: str) -> Job:
        """Put a failed or cancelled job at the end again; only the pictures that it lacks are made."""
        with self._database.writing() as connection:
            _demand(connection, job_id, "retry", (JobState.FAILED, JobState.CANCELLED))
            again = {**_AS_NEW, "place": _end_of_line(connection), "held": False, "crashes": 0, "error": None}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values({**again, "not_before": None}))
            return snapshots.one(connection, job_id)

    def move(self, job_id: str, position: int) -> Job:
        """Put a queued job at `position` (from 1) of all that is queued; it takes the priority that this needs."""
        with self._database.writing() as connection:
            _demand(connection, job_id, "move", (JobState.QUEUED,))
            columns = select(jobs.c.id, jobs.c.priority, jobs.c.place)
            line = connection.execute(columns.where(jobs.c.state == JobState.QUEUED).order_by(*snapshots.TURN)).all()
            for changed, priority, place in moved(
                [(row.id, row.priority, row.place) for row in line], job_id, position
            ):
                connection.execute(update(jobs).where(jobs.c.id == changed).values(priority=priority, place=place))
            return snapshots.one(connection, job_id)

    def prioritise(self, job_id: str, priority: int) -> Job:
        """Give a queued job another priority; it keeps its place among those that have it."""
        with self._database.writing() as connection:
            _demand(connection, job_id, "priority", (JobState.QUEUED,))
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(priority=priority))
            return snapshots.one(connection, job_id)

    def postpone(self, job_id: str, not_before: datetime | None) -> Job:
        """Let a queued job wait until then (aware), or no longer; it keeps its place."""
        with self._database.writing() as connection:
            _demand(connection, job_id, "run later", (JobState.QUEUED,))
            until = stamp(not_before) if not_before else None
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(not_before=until))
            return snapshots.one(connection, job_id)

    def pause(self, paused: bool) -> None:
        """Keep every waiting job waiting, or let them go on. What is in work is finished."""
        with self._database.writing() as connection:
            connection.execute(delete(switches).where(switches.c.name == snapshots.PAUSED))
            if paused:
                connection.execute(insert(switches), {"name": snapshots.PAUSED})

    def is_paused(self) -> bool:
        """Whether `pause` keeps everything waiting."""
        with self._database.reading() as connection:
            return connection.scalar(select(switches.c.name).where(switches.c.name == snapshots.PAUSED)) is not None

    def preview(self, job_id: str) -> bytes | None:
        """The latest preview of a job in work, a small WebP."""
        with self._database.reading() as connection:
            image: bytes | None = connection.scalar(select(previews.c.image).where(previews.c.job_id == job_id))
            return image

    # -- the worker's side -----------------------------------------------------------------------------------------

    def has_waiting(self) -> bool:
        """Whether a claim would find a job: one look into an index, for polling."""
        with self._database.reading() as connection:
            return connection.execute(snapshots.next_in_line(), {"now": now()}).first() is not None

    def claim(self, worker_id: str) -> Job | None:
        """Take the next job (state loading), or None. Jobs whose stored request can't be read fail on the way."""
        with self._database.writing() as connection:
            while (row := connection.execute(snapshots.next_in_line(), {"now": now()}).first()) is not None:
                try:
                    read_request(row.request, row.pictures)
                except UnreadableRequest as problem:
                    _end(connection, row.id, JobState.FAILED, GenerationError(detail=problem))
                    continue
                began = now()
                taken = {"state": JobState.LOADING, "worker": worker_id, "started_at": began, "reported_at": began}
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(taken))
                return snapshots.one(connection, row.id)
            return None

    def report(self, job_id: str, progress: Progress) -> None:
        """Store where a job is; it is running from the first phase after loading. A preview replaces the one before."""
        with self._database.writing() as connection:
            present = snapshots.state_of(connection, job_id)
            loading = progress.phase is Phase.LOADING and present is not JobState.RUNNING
            following = JobState.LOADING if loading else JobState.RUNNING
            if present not in IN_WORK:
                raise IllegalTransition(f"job {job_id} is {present} and reports without having been claimed")
            check_transition(job_id, present, following)
            values = {"state": following, "progress": write_progress(progress), "reported_at": now()}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
            if progress.preview is not None:
                connection.execute(delete(previews).where(previews.c.job_id == job_id))
                connection.execute(insert(previews), {"job_id": job_id, "image": progress.preview})

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
            _end(connection, job_id, state, error)

    def give_back(self, job_id: str) -> None:
        """Queue a job in work again, at its place, because its worker was told to end or the job was paused."""
        with self._database.writing() as connection:
            _requeue(connection, job_id, {})

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

    def abandon(self, worker_id: str, detail: Reason) -> list[Job]:
        """Queue again, at its place, what a dead worker had in work; the jobs as they are then.

        A job that was to be cancelled is cancelled; one that workers died of MOST_CRASHES times has failed.
        """
        held = select(jobs.c.id, jobs.c.crashes, jobs.c.cancel_requested).order_by(jobs.c.number)
        with self._database.writing() as connection:
            rows = connection.execute(held.where(jobs.c.state.in_(IN_WORK), jobs.c.worker == worker_id)).all()
            for row in rows:
                crashes = row.crashes + 1
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(crashes=crashes))
                if row.cancel_requested:
                    _end(connection, row.id, JobState.CANCELLED, None)
                elif crashes >= MOST_CRASHES:
                    _end(connection, row.id, JobState.FAILED, CrashLoopError(crashes=crashes, detail=detail))
                else:
                    _requeue(connection, row.id, {"error": WorkerDiedError(detail=detail).to_dict()})
            return [snapshots.one(connection, row.id) for row in rows]


def new_id() -> str:
    """32 hex digits that sort by time of making (nanoseconds first, then 64 random bits)."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"


# -- inside a transaction ----------------------------------------------------------------------------------------------


def _row(job_id: str, request: GenerationRequest, terms: JobTerms, place: int) -> dict[str, Any]:
    return {
        "id": job_id,
        "state": JobState.QUEUED,
        "request": write_request(request),
        "cancel_requested": False,
        "created_at": now(),
        "client": terms.client,
        "priority": terms.priority,
        "place": place,
        "not_before": stamp(terms.not_before) if terms.not_before else None,
        "held": terms.held,
        "crashes": 0,
        "key": terms.key,
        "key_digest": terms.key_digest,
    }


def _of_key(connection: Connection, terms: JobTerms) -> str | None:
    """The job that this client's key made before; KeyReusedError when it was another request."""
    if terms.key is None:
        return None
    same = select(jobs.c.id, jobs.c.key_digest).where(jobs.c.client == terms.client, jobs.c.key == terms.key)
    row = connection.execute(same).one_or_none()
    if row is not None and row.key_digest != terms.key_digest:
        raise KeyReusedError(key=terms.key)
    return row.id if row is not None else None


def _check_room(connection: Connection, client: str, most: int) -> None:
    mine = select(func.count()).where(jobs.c.client == client, jobs.c.state.in_(ACTIVE))
    if (connection.scalar(mine) or 0) >= most:
        raise QueueFullError(allowed=most)


def _end_of_line(connection: Connection) -> int:
    return (connection.scalar(select(func.max(jobs.c.place))) or 0) + 1


def _demand(connection: Connection, job_id: str, wish: str, allowed: Sequence[JobState]) -> None:
    state = snapshots.state_of(connection, job_id)
    if state not in allowed:
        raise JobStateError(job=job_id, state=state, wish=wish, allowed=", ".join(allowed))


def _cancel(connection: Connection, job_id: str) -> None:
    state = snapshots.state_of(connection, job_id)
    if state is JobState.QUEUED:
        _end(connection, job_id, JobState.CANCELLED, None)
    if state not in ENDED:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))


def _requeue(connection: Connection, job_id: str, more: Mapping[str, Any]) -> None:
    check_transition(job_id, snapshots.state_of(connection, job_id), JobState.QUEUED)
    connection.execute(update(jobs).where(jobs.c.id == job_id).values({**_AS_NEW, **more}))
    connection.execute(delete(previews).where(previews.c.job_id == job_id))


def _end(connection: Connection, job_id: str, state: JobState, error: StudioError | None) -> None:
    check_transition(job_id, snapshots.state_of(connection, job_id), state)
    values = {"state": state, "finished_at": now(), "held": False, "error": error.to_dict() if error else None}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    connection.execute(delete(previews).where(previews.c.job_id == job_id))
