"""Change single rows of the jobs table inside a transaction of the caller."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, union_all, update

from core.errors import JobStateError, KeyReusedError, QueueFullError, StudioError
from core.jobs import job_queries
from core.jobs.job_queries import ACTIVE, ENDED, check_transition
from core.jobs.serialization import write_request
from core.storage.database import now, stamp
from core.storage.tables import batches, jobs, previews
from core.types import GenerationRequest, JobState, SubmitOptions

GAP = 64  # between the places of new jobs
WINDOW = 128  # jobs that are spread at most where there is no room between two

AS_NEW: Mapping[str, Any] = {
    "state": JobState.QUEUED,
    "worker": None,
    "progress": None,
    "started_at": None,
    "finished_at": None,
    "cancel_requested": False,
}


def new_id() -> str:
    """Return 32 hex digits that sort by creation time (nanoseconds first, then 64 random bits)."""
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"


def row_of(job_id: str, request: GenerationRequest, terms: SubmitOptions, place: int) -> dict[str, Any]:
    """Return the row of a new job."""
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


def add_job(connection: Connection, request: GenerationRequest, terms: SubmitOptions) -> str:
    """Insert a request at the end of the queue, with the own values of a batch's images; return the job's id."""
    job_id = new_id()
    connection.execute(insert(jobs), row_of(job_id, request, terms, last_place(connection)))
    if request.images:
        own = [dict(image) for image in request.images]
        connection.execute(insert(batches), {"job_id": job_id, "pictures": own})
    return job_id


def job_of_key(connection: Connection, terms: SubmitOptions) -> str | None:
    """Return the job that this client's key made before. KeyReusedError when it was another request."""
    if terms.key is None:
        return None
    same = select(jobs.c.id, jobs.c.key_digest).where(jobs.c.client == terms.client, jobs.c.key == terms.key)
    row = connection.execute(same).one_or_none()
    if row is not None and row.key_digest != terms.key_digest:
        raise KeyReusedError(key=terms.key)
    return row.id if row is not None else None


def check_client_limit(connection: Connection, client: str, most: int, adding: int = 1) -> None:
    """Raise QueueFullError when this client would have more than `most` active jobs."""
    mine = select(func.count()).where(jobs.c.client == client, jobs.c.state.in_(ACTIVE))
    if (connection.scalar(mine) or 0) + adding > most:
        raise QueueFullError(allowed=most)


def last_place(connection: Connection) -> int:
    """Return the place after all existing ones, with room for jobs that are moved between them."""
    return (connection.scalar(select(func.max(jobs.c.place))) or 0) + GAP


def place_before(connection: Connection, job_id: str, following: int) -> int:
    """Return a place for a job just before `following`; where there is none, a few later jobs make room.

    Only active jobs count: an ended job keeps its place, but is queued again at the end.
    """
    earlier = (
        select(func.max(jobs.c.place).label("place")).where(
            jobs.c.state == state, jobs.c.place < following, jobs.c.id != job_id
        )
        for state in ACTIVE  # one by one: each is a look-up in ix_jobs_state_place
    )
    previous = connection.scalar(select(func.max(union_all(*earlier).subquery().c.place)))
    if previous is None:
        return following - GAP
    if following - previous < 2:
        return _make_room(connection, job_id, previous)
    return int(previous + following) // 2


def _make_room(connection: Connection, job_id: str, previous: int) -> int:
    """Return a place just after `previous`, having spread as many of the following jobs as lie too close together."""
    following = select(jobs.c.number, jobs.c.place).where(
        jobs.c.state.in_(ACTIVE), jobs.c.place > previous, jobs.c.id != job_id
    )
    rows = connection.execute(following.order_by(jobs.c.place).limit(WINDOW + 1)).all()
    for count, row in enumerate(rows[1:], start=1):  # the first that leaves two places for each job before it
        step = (row.place - previous) // (count + 1)
        if step >= 2:
            break
    else:
        count, step = min(len(rows), WINDOW), GAP
        if len(rows) > WINDOW:
            later = update(jobs).where(jobs.c.state.in_(ACTIVE), jobs.c.place >= rows[WINDOW].place)
            connection.execute(later.values(place=jobs.c.place + GAP * (WINDOW + 2)))
    spread = [{"row": row.number, "at": previous + step * k} for k, row in enumerate(rows[:count], start=2)]
    move = update(jobs).where(jobs.c.number == bindparam("row")).values(place=bindparam("at"))
    connection.execute(move, spread)
    return previous + step


def place_after(connection: Connection, job_id: str, previous: int) -> int:
    """Return a place for a job just after `previous`."""
    others = select(func.min(jobs.c.place)).where(jobs.c.place > previous, jobs.c.id != job_id)
    following = connection.scalar(others)
    return previous + GAP if following is None else place_before(connection, job_id, following)


def require_state(connection: Connection, job_id: str, action: str, allowed: Sequence[JobState]) -> None:
    """Raise JobStateError unless the job is in one of the `allowed` states."""
    state = job_queries.state_of(connection, job_id)
    if state not in allowed:
        raise JobStateError(job=job_id, state=state, action=action, allowed=", ".join(allowed))


def cancel_job(connection: Connection, job_id: str) -> None:
    """Cancel a waiting job, mark a running one for its worker, leave an ended one."""
    state = job_queries.state_of(connection, job_id)
    if state is JobState.QUEUED:
        end_job(connection, job_id, JobState.CANCELLED, None)
    if state not in ENDED:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))


def not_before(connection: Connection, job_id: str, moment: str) -> str:
    """Return `moment`, or the time of the job's creation or start if the clock was set back since."""
    times = connection.execute(select(jobs.c.created_at, jobs.c.started_at).where(jobs.c.id == job_id)).one()
    return max(moment, times.created_at, times.started_at or "")


def requeue_job(connection: Connection, job_id: str, more: Mapping[str, Any]) -> None:
    """Put a running job back into the queue at its place, with `more` columns changed."""
    check_transition(job_id, job_queries.state_of(connection, job_id), JobState.QUEUED)
    connection.execute(update(jobs).where(jobs.c.id == job_id).values({**AS_NEW, **more}))
    connection.execute(delete(previews).where(previews.c.job_id == job_id))


def end_job(connection: Connection, job_id: str, state: JobState, error: StudioError | None) -> None:
    """End a job and delete its preview."""
    check_transition(job_id, job_queries.state_of(connection, job_id), state)
    finished = not_before(connection, job_id, now())
    values = {"state": state, "finished_at": finished, "held": False, "error": error.to_dict() if error else None}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    connection.execute(delete(previews).where(previews.c.job_id == job_id))
