"""Read and change rows of the jobs table, within a transaction of the caller: states, snapshots for pages, the next job to run.

A job may run when it is queued, not paused, and its start time has come. The highest priority runs first, then the
lowest place.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Case,
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from core.errors import JobStateError, KeyReusedError, NotFoundError, QueueFullError, StudioError
from core.jobs.serialization import read_job, write_request
from core.storage.database import now, timestamp
from core.storage.dialects.contract import stored_text
from core.storage.tables import batches, images, jobs, previews, switches
from core.types import GenerationRequest, Job, JobState, SubmitOptions

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.LOADING, JobState.CANCELLED, JobState.FAILED}),
    JobState.LOADING: frozenset(
        {JobState.LOADING, JobState.RUNNING, JobState.QUEUED, JobState.CANCELLED, JobState.FAILED}
    ),
    JobState.RUNNING: frozenset(
        {JobState.RUNNING, JobState.QUEUED, JobState.DONE, JobState.CANCELLED, JobState.FAILED}
    ),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}

IN_WORK = (JobState.LOADING, JobState.RUNNING)  # a worker holds the job
ACTIVE = (JobState.QUEUED, *IN_WORK)
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class IllegalTransition(RuntimeError):
    """A bug: the job can't go from its state to the one asked for."""


def check_transition(job_id: str, present: JobState, following: JobState) -> None:
    """Raise IllegalTransition unless `following` may come after `present`."""
    if following not in TRANSITIONS[present]:
        allowed = ", ".join(sorted(TRANSITIONS[present])) or "nothing"
        raise IllegalTransition(f"job {job_id} is {present}; {following} was asked for, allowed: {allowed}")


GIVEN_BACK = "given_back"  # the switch that keeps every worker of this machine out of the GPU
PAUSED = "paused"  # the switch that keeps every job waiting

_PLAIN = (
    "number",
    "id",
    "state",
    "cancel_requested",
    "created_at",
    "started_at",
    "finished_at",
    "client",
    "priority",
    "place",
    "not_before",
    "held",
    "crashes",
)
_JSON = ("request", "progress", "error")  # read as text, so that a broken one is met in Python and not in the driver
_IMAGES = stored_text(batches.c.pictures).label("pictures")
_WITH_BATCH = jobs.outerjoin(batches, batches.c.job_id == jobs.c.id)
RUN_ORDER = (jobs.c.priority.desc(), jobs.c.place)  # the order in which jobs run


def get_job(connection: Connection, job_id: str) -> Job:
    """Return a job. NotFoundError when there is none."""
    found = read_jobs(connection, select_jobs().where(jobs.c.id == job_id))
    if not found:
        raise NotFoundError(kind="job", value=job_id)
    return found[0]


def read_jobs(connection: Connection, wanted: Select[Any]) -> list[Job]:
    """Return the jobs that `wanted` (made of `select_jobs`) selects, with their image ids."""
    present = now()
    rows = [row._asdict() for row in connection.execute(wanted)]
    made = _image_ids(connection, [row["id"] for row in rows])
    places = _positions(connection, [row for row in rows if _is_next_in_line(row, present)], present)
    return [read_job({**row, "position": places.get(row["number"])}, made.get(row["id"], ())) for row in rows]


def read_active(
    connection: Connection,
    limit: int,
    client: str | None = None,
    after_id: str | None = None,
    other_than: str | None = None,
) -> list[Job]:
    """Return running jobs, then waiting ones in the order of running; of a client, or of all but one.

    With `after_id` those that follow that job.

    The rows to read are selected from the index alone: a request is kilobytes. NotFoundError when there is no such job.
    """
    line = select(jobs.c.number).where(jobs.c.state.in_(ACTIVE)).order_by(_waits(), *RUN_ORDER).limit(limit)
    if client is not None:
        line = line.where(jobs.c.client == client)
    if other_than is not None:
        line = line.where(jobs.c.client != other_than)
    if after_id is not None:
        line = line.where(_after(connection, after_id))
    shown = select_jobs().where(jobs.c.number.in_(select(line.subquery().c.number)))
    return read_jobs(connection, shown.order_by(_waits(), *RUN_ORDER))


def state_of(connection: Connection, job_id: str) -> JobState:
    """Return a job's state. NotFoundError when there is none."""
    state = connection.scalar(select(jobs.c.state).where(jobs.c.id == job_id))
    if state is None:
        raise NotFoundError(kind="job", value=job_id)
    return JobState(state)


@cache
def select_paused() -> Select[Any]:
    """Select a row while the queue is paused."""
    return select(switches.c.name).where(switches.c.name == PAUSED)


@cache
def select_next() -> Select[Any]:
    """Select id, request and images of the job to run next; no row while the queue is paused. Bind `now`."""
    running = ~exists(select_paused())
    waiting = select(jobs.c.id, stored_text(jobs.c.request).label("request"), _IMAGES).select_from(_WITH_BATCH)
    return waiting.where(running, _may_run(jobs)).order_by(*RUN_ORDER).limit(1)


@cache
def select_marks() -> Select[Any]:
    """Select the id of jobs, their state, and what else changes in their rows. Bind `ids`."""
    names = ("id", "state", "reported_at", "cancel_requested", "held", "priority", "place", "not_before", "crashes")
    return select(*(jobs.c[name] for name in names)).where(jobs.c.id.in_(bindparam("ids", expanding=True)))


@cache
def select_jobs() -> Select[Any]:
    """Select rows for `read_jobs`."""
    as_text = [stored_text(jobs.c[name]).label(name) for name in _JSON]
    return select(*(jobs.c[name] for name in _PLAIN), *as_text, _IMAGES).select_from(_WITH_BATCH)


def _after(connection: Connection, job_id: str) -> ColumnElement[bool]:
    """Return a condition: the active jobs that follow this one. NotFoundError when there is none."""
    row = connection.execute(select(_waits().label("waits"), jobs.c.priority, jobs.c.place).where(jobs.c.id == job_id))
    here = row.one_or_none()
    if here is None:
        raise NotFoundError(kind="job", value=job_id)
    behind = or_(jobs.c.priority < here.priority, and_(jobs.c.priority == here.priority, jobs.c.place > here.place))
    return or_(_waits() > here.waits, and_(_waits() == here.waits, behind))


def _waits() -> Case[Any]:
    return case((jobs.c.state.in_(IN_WORK), 0), else_=1)


def _is_next_in_line(row: Mapping[str, Any], present: str) -> bool:
    """Return True if a row of `select_jobs` may run, as `_may_run` says it in SQL."""
    due = row["not_before"] is None or row["not_before"] <= present
    return bool(row["state"] == JobState.QUEUED and not row["held"] and due)


def _positions(connection: Connection, rows: Sequence[Mapping[str, Any]], present: str) -> dict[int, int]:
    """Return the position, from 1, of each of these rows among all jobs that may run, by the number of the job."""
    if not rows:
        return {}
    if len(rows) == 1:
        (row,) = rows
        earlier = or_(
            jobs.c.priority > row["priority"], and_(jobs.c.priority == row["priority"], jobs.c.place <= row["place"])
        )
        ahead = select(func.count()).where(_may_run(jobs), earlier)
        return {row["number"]: int(connection.scalar(ahead, {"now": present}) or 0)}
    rank = func.row_number().over(order_by=RUN_ORDER).label("position")
    ranked = select(jobs.c.number, rank).where(_may_run(jobs)).subquery()
    wanted = select(ranked).where(ranked.c.number.in_([row["number"] for row in rows]))
    return {row.number: row.position for row in connection.execute(wanted, {"now": present})}


def read_positions(connection: Connection, job_ids: Collection[str]) -> dict[str, int]:
    """Return the position, from 1, of those of these jobs that may run."""
    present = now()
    wanted = select(jobs.c.id, jobs.c.number, jobs.c.priority, jobs.c.place)
    found = connection.execute(wanted.where(jobs.c.id.in_(job_ids), _may_run(jobs)), {"now": present})
    ids = {row["number"]: dict(row) for row in found.mappings()}
    places = _positions(connection, list(ids.values()), present)
    return {ids[number]["id"]: position for number, position in places.items()}


def _may_run(table: Any) -> ColumnElement[bool]:
    due = or_(table.c.not_before.is_(None), table.c.not_before <= bindparam("now", type_=String))
    return and_(table.c.state == JobState.QUEUED, ~table.c.held, due)


def _image_ids(connection: Connection, job_ids: Iterable[str]) -> dict[str, Sequence[str]]:
    """Return the image ids of each job, in the job's order: an interrupted job makes some later."""
    of_jobs = select(images.c.job_id, images.c.id).where(images.c.job_id.in_(list(job_ids)))
    found: dict[str, list[str]] = {}
    for job_id, image_id in connection.execute(
        of_jobs.order_by(images.c.job_id, images.c.place.nulls_first(), images.c.id)
    ):
        found.setdefault(job_id, []).append(image_id)
    return {job_id: tuple(ids) for job_id, ids in found.items()}


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
        "not_before": timestamp(terms.not_before) if terms.not_before else None,
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
    """Return a place for a job just before `following`; where there is none, a few later jobs are moved.

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
        return _shift_later(connection, job_id, previous)
    return int(previous + following) // 2


def _shift_later(connection: Connection, job_id: str, previous: int) -> int:
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
    state = state_of(connection, job_id)
    if state not in allowed:
        raise JobStateError(job=job_id, state=state, action=action, allowed=", ".join(allowed))


def cancel_job(connection: Connection, job_id: str) -> None:
    """Cancel a waiting job, mark a running one for its worker, leave an ended one."""
    state = state_of(connection, job_id)
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
    check_transition(job_id, state_of(connection, job_id), JobState.QUEUED)
    connection.execute(update(jobs).where(jobs.c.id == job_id).values({**AS_NEW, **more}))
    connection.execute(delete(previews).where(previews.c.job_id == job_id))


def end_job(connection: Connection, job_id: str, state: JobState, error: StudioError | None) -> None:
    """End a job and delete its preview."""
    check_transition(job_id, state_of(connection, job_id), state)
    finished = not_before(connection, job_id, now())
    values = {"state": state, "finished_at": finished, "held": False, "error": error.to_dict() if error else None}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    connection.execute(delete(previews).where(previews.c.job_id == job_id))
