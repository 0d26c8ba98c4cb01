"""How rows of the jobs table are read: the snapshots that pages get, and whose turn is next.

A job waits for its turn when it is queued, not held, and its time has come. The highest priority is first, then the
lowest place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
)

from core.errors import NotFoundError
from core.jobs.serialization import read_job
from core.jobs.states import ACTIVE, IN_WORK
from core.storage.database import now
from core.storage.dialects.expressions import stored_text
from core.storage.tables import batches, images, jobs, switches
from core.types import Job, JobState

PAUSED = "paused"  # the switch that keeps every job waiting

_PLAIN = (
    "id",
    "state",
    "cancel_requested",
    "created_at",
    "started_at",
    "finished_at",
    "client",
    "priority",
    "not_before",
    "held",
    "crashes",
)
_JSON = ("request", "progress", "error")  # read as text, so that a broken one is met in Python and not in the driver
_IMAGES = stored_text(batches.c.pictures).label("pictures")
_WITH_BATCH = jobs.outerjoin(batches, batches.c.job_id == jobs.c.id)
TURN = (jobs.c.priority.desc(), jobs.c.place)  # the order in which jobs run


def one(connection: Connection, job_id: str) -> Job:
    """The job; NotFoundError when there is none."""
    found = read(connection, snapshots().where(jobs.c.id == job_id))
    if not found:
        raise NotFoundError(kind="job", value=job_id)
    return found[0]


def read(connection: Connection, wanted: Select[Any]) -> list[Job]:
    """The jobs that `wanted` (of `snapshots`) selects, with their pictures."""
    rows = [row._asdict() for row in connection.execute(wanted, {"now": now()})]
    made = _image_ids(connection, [row["id"] for row in rows])
    return [read_job(row, made.get(row["id"], ())) for row in rows]


def state_of(connection: Connection, job_id: str) -> JobState:
    """The job's state; NotFoundError when there is none."""
    state = connection.scalar(select(jobs.c.state).where(jobs.c.id == job_id))
    if state is None:
        raise NotFoundError(kind="job", value=job_id)
    return JobState(state)


@cache
def paused() -> Select[Any]:
    """A row while everything is kept waiting."""
    return select(switches.c.name).where(switches.c.name == PAUSED)


@cache
def next_in_line() -> Select[Any]:
    """Id, request and pictures of the job whose turn it is; none while the queue is paused. Give it `now`."""
    running = ~exists(paused())
    waiting = select(jobs.c.id, stored_text(jobs.c.request).label("request"), _IMAGES).select_from(_WITH_BATCH)
    return waiting.where(running, _may_run(jobs)).order_by(*TURN).limit(1)


@cache
def snapshots() -> Select[Any]:
    """Rows for `read_job`."""
    ahead = jobs.alias("ahead")
    earlier = or_(
        ahead.c.priority > jobs.c.priority, and_(ahead.c.priority == jobs.c.priority, ahead.c.place <= jobs.c.place)
    )
    place = select(func.count()).where(_may_run(ahead), earlier).correlate(jobs).scalar_subquery()
    as_text = [stored_text(jobs.c[name]).label(name) for name in _JSON]
    position = case((_may_run(jobs), place)).label("position")
    return select(*(jobs.c[name] for name in _PLAIN), *as_text, _IMAGES, position).select_from(_WITH_BATCH)


@cache
def active() -> Select[Any]:
    """Snapshots of all that can still change: what is in work, then what waits, in the order of running."""
    in_work = case((jobs.c.state.in_(IN_WORK), 0), else_=1)
    return snapshots().where(jobs.c.state.in_(ACTIVE)).order_by(in_work, *TURN)


def _may_run(table: Any) -> ColumnElement[bool]:
    due = or_(table.c.not_before.is_(None), table.c.not_before <= bindparam("now", type_=String))
    return and_(table.c.state == JobState.QUEUED, ~table.c.held, due)


def _image_ids(connection: Connection, job_ids: Iterable[str]) -> dict[str, Sequence[str]]:
    """The pictures of each job, in the job's order: one that was interrupted makes some later."""
    of_jobs = select(images.c.job_id, images.c.id).where(images.c.job_id.in_(list(job_ids)))
    found: dict[str, list[str]] = {}
    for job_id, image_id in connection.execute(
        of_jobs.order_by(images.c.job_id, images.c.place.nulls_first(), images.c.id)
    ):
        found.setdefault(job_id, []).append(image_id)
    return {job_id: tuple(ids) for job_id, ids in found.items()}
