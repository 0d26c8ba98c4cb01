"""The durable queue: one row a job, first in, first out.

Pages add jobs, look at them and ask to cancel; one worker claims them, reports and finishes. Every change is one
transaction that checks the state it starts from, so two processes can never both believe that a job is theirs.
What this module does not know: processes, pictures, torch.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, String, case, delete, func, insert, select, type_coerce, update

from core.errors import GenerationError, NotFoundError, StudioError, WorkerDiedError
from core.jobs.records import UnreadableRequest, read_job, read_request, write_progress, write_request
from core.jobs.states import ENDED, IN_WORK, IllegalTransition, check_transition
from core.storage.database import Database, now
from core.storage.tables import images, jobs, previews
from core.types import GenerationRequest, Job, JobState, Phase, Progress


class JobQueue:
    """The jobs table and its previews. Thread-safe as the database is; any number of processes may open it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- the page's side -------------------------------------------------------------------------------------------

    def add(self, request: GenerationRequest) -> Job:
        """Put a complete request at the end. It is on disk when this returns; StorageError when it can't be."""
        job_id = new_id()
        row = {
            "id": job_id,
            "state": JobState.QUEUED,
            "request": write_request(request),
            "cancel_requested": False,
            "created_at": now(),
        }
        with self._database.writing() as connection:
            connection.execute(insert(jobs), row)
            return _one(connection, job_id)

    def get(self, job_id: str) -> Job:
        """A snapshot; NotFoundError when there is none."""
        with self._database.reading() as connection:
            return _one(connection, job_id)

    def recent(self, limit: int) -> Sequence[Job]:
        """The latest `limit` jobs, newest first."""
        with self._database.reading() as connection:
            return _read(connection, _snapshots().order_by(jobs.c.number.desc()).limit(limit))

    def request_cancel(self, job_id: str) -> Job:
        """A queued job is cancelled now; one in work is marked for its worker; an ended one stays as it is."""
        with self._database.writing() as connection:
            state = _state(connection, job_id)
            if state is JobState.QUEUED:
                _end(connection, job_id, JobState.CANCELLED, None)
            if state not in ENDED:
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
            return _one(connection, job_id)

    def preview(self, job_id: str) -> bytes | None:
        """The latest preview of a job in work, a small WebP."""
        with self._database.reading() as connection:
            image: bytes | None = connection.scalar(select(previews.c.image).where(previews.c.job_id == job_id))
            return image

    # -- the worker's side -----------------------------------------------------------------------------------------

    def has_waiting(self) -> bool:
        """Whether a claim would find a job: one look into an index, for polling."""
        with self._database.reading() as connection:
            return connection.execute(_next_in_line()).first() is not None

    def claim(self, worker_id: str) -> Job | None:
        """Take the next job (state loading), or None. Jobs whose stored request can't be read fail on the way."""
        with self._database.writing() as connection:
            while (row := connection.execute(_next_in_line()).first()) is not None:
                try:
                    read_request(row.request)
                except UnreadableRequest as problem:
                    _end(connection, row.id, JobState.FAILED, GenerationError(detail=problem))
                    continue
                taken = {"state": JobState.LOADING, "worker": worker_id, "started_at": now()}
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(taken))
                return _one(connection, row.id)
            return None

    def report(self, job_id: str, progress: Progress) -> None:
        """Store where a job is; it is running from the first phase after loading. A preview replaces the one before."""
        with self._database.writing() as connection:
            present = _state(connection, job_id)
            loading = progress.phase is Phase.LOADING and present is not JobState.RUNNING
            following = JobState.LOADING if loading else JobState.RUNNING
            if present is JobState.QUEUED:
                raise IllegalTransition(f"job {job_id} reports without having been claimed")
            check_transition(job_id, present, following)
            values = {"state": following, "progress": write_progress(progress)}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
            if progress.preview is not None:
                connection.execute(delete(previews).where(previews.c.job_id == job_id))
                connection.execute(insert(previews), {"job_id": job_id, "image": progress.preview})

    def is_cancel_requested(self, job_id: str) -> bool:
        """Whether someone asked to stop this job; cheap enough for every step."""
        with self._database.reading() as connection:
            return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)))

    def finish(self, job_id: str, state: JobState, error: StudioError | None = None) -> None:
        """End a job and drop its preview. IllegalTransition when it can't end like this from where it is."""
        if state not in ENDED:
            raise IllegalTransition(f"job {job_id} can't end as {state}")
        with self._database.writing() as connection:
            _end(connection, job_id, state, error)

    # -- the supervisor's side -------------------------------------------------------------------------------------

    def holders(self) -> set[str]:
        """The ids of the workers that have a job in work."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(jobs.c.worker).where(jobs.c.state.in_(IN_WORK))))

    def abandon(self, worker_id: str, detail: str) -> list[Job]:
        """Fail what a dead worker had in work with WorkerDiedError(detail); the jobs as they are then."""
        held = select(jobs.c.id).where(jobs.c.state.in_(IN_WORK), jobs.c.worker == worker_id).order_by(jobs.c.number)
        with self._database.writing() as connection:
            ids = list(connection.scalars(held))
            for job_id in ids:
                _end(connection, job_id, JobState.FAILED, WorkerDiedError(detail=detail))
            return [_one(connection, job_id) for job_id in ids]


def new_id() -> str:
    """32 hex digits that sort by time of making (nanoseconds first, then 64 random bits)."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"


@cache
def _next_in_line() -> Select[Any]:
    waiting = select(jobs.c.id, type_coerce(jobs.c.request, String).label("request"))
    return waiting.where(jobs.c.state == JobState.QUEUED).order_by(jobs.c.number).limit(1)


def _state(connection: Connection, job_id: str) -> JobState:
    state = connection.scalar(select(jobs.c.state).where(jobs.c.id == job_id))
    if state is None:
        raise NotFoundError(kind="job", came=job_id)
    return JobState(state)


def _end(connection: Connection, job_id: str, state: JobState, error: StudioError | None) -> None:
    check_transition(job_id, _state(connection, job_id), state)
    values = {"state": state, "finished_at": now(), "error": error.to_dict() if error else None}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    connection.execute(delete(previews).where(previews.c.job_id == job_id))


@cache
def _snapshots() -> Select[Any]:
    """Rows for `read_job`: JSON as text, so that a broken one is met in Python and not in the driver."""
    ahead = jobs.alias("ahead")
    place = (
        select(func.count())
        .where(ahead.c.state == JobState.QUEUED, ahead.c.number <= jobs.c.number)
        .correlate(jobs)
        .scalar_subquery()
    )
    as_text = [type_coerce(jobs.c[name], String).label(name) for name in ("request", "progress", "error")]
    plain = [jobs.c[name] for name in ("id", "state", "cancel_requested", "created_at", "started_at", "finished_at")]
    return select(*plain, *as_text, case((jobs.c.state == JobState.QUEUED, place)).label("position"))


def _one(connection: Connection, job_id: str) -> Job:
    found = _read(connection, _snapshots().where(jobs.c.id == job_id))
    if not found:
        raise NotFoundError(kind="job", came=job_id)
    return found[0]


def _read(connection: Connection, snapshots: Select[Any]) -> list[Job]:
    rows = [row._asdict() for row in connection.execute(snapshots)]
    pictures = _image_ids(connection, [row["id"] for row in rows])
    return [read_job(row, pictures.get(row["id"], ())) for row in rows]


def _image_ids(connection: Connection, job_ids: Iterable[str]) -> dict[str, list[str]]:
    """The pictures of each job, in the order of their making."""
    of_jobs = select(images.c.job_id, images.c.id).where(images.c.job_id.in_(list(job_ids)))
    found: dict[str, list[str]] = {}
    for job_id, image_id in connection.execute(of_jobs.order_by(images.c.created_at, images.c.id)):
        found.setdefault(job_id, []).append(image_id)
    return found
