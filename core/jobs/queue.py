"""The durable queue: one row a job, by priority, then first in, first out.

Pages add jobs, look at them, reorder and stop them; one worker claims them, reports and finishes. Every change is one
transaction that checks the state it starts from, so two processes can never both believe that a job is theirs.
What this module does not know: processes, pictures, torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from core.errors import Cancelled, CrashLoopError, GenerationError, StudioError, WorkerDiedError
from core.jobs import snapshots
from core.jobs.board import Board
from core.jobs.changes import ChangeWatch
from core.jobs.order import moved
from core.jobs.reasons import Reason
from core.jobs.records import UnreadableRequest, read_request, write_progress
from core.jobs.states import ACTIVE, ENDED, IN_WORK, IllegalTransition, check_transition
from core.jobs.transactions import (
    AS_NEW,
    add_job,
    cancel_job,
    check_room,
    demand,
    end_job,
    end_of_line,
    job_of_key,
    requeue_job,
)
from core.storage.database import Database, moment, now, stamp
from core.storage.dialects import upsert
from core.storage.tables import jobs, previews, switches
from core.types import GenerationRequest, Job, JobState, JobTerms, Phase, Progress, QueueBoard

MOST_SHOWN = 200  # jobs on the board: nobody reads more
MOST_CRASHES = 3  # a job that a worker died of this often is not run again by itself

log = logging.getLogger(__name__)


class JobQueue:
    """The jobs table and its previews. Thread-safe as the database is; any number of processes may open it."""

    def __init__(self, database: Database, worker_id: str | None = None) -> None:
        """`worker_id`: it speaks for this worker, whose word counts for the jobs that it has in work and no others.

        A machine that was out of reach for long may come back to a job that another has taken over meanwhile.
        """
        self._database = database
        self._worker_id = worker_id
        self._board = Board(lambda: ChangeWatch(database), self._read_board)

    # -- the page's side -------------------------------------------------------------------------------------------

    def add(self, request: GenerationRequest, terms: JobTerms | None = None, most: int | None = None) -> Job:
        """Put a complete request at the end. It is on disk when this returns; StorageError when it can't be.

        QueueFullError when the client has `most` active jobs already; KeyReusedError when its key stands for another
        request. The job of a key that came before is given as it is.
        """
        terms = terms or JobTerms()
        with self._database.writing() as connection:
            known = job_of_key(connection, terms)
            if known is not None:
                return snapshots.one(connection, known)
            if most is not None:
                check_room(connection, terms.client, most)
            return snapshots.one(connection, add_job(connection, request, terms))

    def add_all(
        self,
        requests: Sequence[GenerationRequest],
        terms: JobTerms | None,
        keep: Callable[[Connection, Sequence[str]], None],
        most: int | None = None,
    ) -> Sequence[Job]:
        """Put complete requests at the end, in this order, with what `keep` writes of them (it gets their ids).

        All of it is on disk when this returns, or nothing is. QueueFullError when the client would have more than `most`.
        """
        terms = terms or JobTerms()
        with self._database.writing() as connection:
            if most is not None:
                check_room(connection, terms.client, most, len(requests))
            ids = [add_job(connection, request, terms) for request in requests]
            keep(connection, ids)
            return [snapshots.one(connection, job_id) for job_id in ids]

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

    def board(self) -> QueueBoard:
        """What can still change, as one snapshot: the same object until somebody writes to the database."""
        return self._board.look()

    def _read_board(self) -> QueueBoard:
        with self._database.reading() as connection:
            paused = connection.scalar(snapshots.paused()) is not None
            newest = connection.scalar(select(func.max(jobs.c.number))) or 0
            return QueueBoard(tuple(snapshots.read(connection, snapshots.active().limit(MOST_SHOWN))), paused, newest)

    def request_cancel(self, job_id: str) -> Job:
        """A queued job is cancelled now; one in work is marked for its worker; an ended one stays as it is."""
        with self._database.writing() as connection:
            cancel_job(connection, job_id)
            return snapshots.one(connection, job_id)

    def clear(self, client: str | None = None) -> int:
        """Cancel everything that waits (of one client, or of all); how many that were. What is in work goes on."""
        waiting = select(jobs.c.id).where(jobs.c.state == JobState.QUEUED)
        with self._database.writing() as connection:
            ids = list(connection.scalars(waiting if client is None else waiting.where(jobs.c.client == client)))
            for job_id in ids:
                cancel_job(connection, job_id)
            return len(ids)

    def hold(self, job_id: str, held: bool) -> Job:
        """Pause a job, or let it go on. One in work stops within a step and waits; its finished pictures are kept.

        JobStateError when it has ended.
        """
        with self._database.writing() as connection:
            demand(connection, job_id, "pause", ACTIVE)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(held=held))
            return snapshots.one(connection, job_id)

    def retry(self, job_id: str) -> Job:
        """Put a failed or cancelled job at the end again; only the pictures that it lacks are made."""
        with self._database.writing() as connection:
            demand(connection, job_id, "retry", (JobState.FAILED, JobState.CANCELLED))
            again = {**AS_NEW, "place": end_of_line(connection), "held": False, "crashes": 0, "error": None}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values({**again, "not_before": None}))
            return snapshots.one(connection, job_id)

    def move(self, job_id: str, position: int) -> Job:
        """Put a queued job at `position` (from 1) of all that is queued; it takes the priority that this needs."""
        with self._database.writing() as connection:
            demand(connection, job_id, "move", (JobState.QUEUED,))
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
            demand(connection, job_id, "priority", (JobState.QUEUED,))
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(priority=priority))
            return snapshots.one(connection, job_id)

    def postpone(self, job_id: str, not_before: datetime | None) -> Job:
        """Let a queued job wait until then (aware), or no longer; it keeps its place."""
        with self._database.writing() as connection:
            demand(connection, job_id, "run later", (JobState.QUEUED,))
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
            return connection.scalar(snapshots.paused()) is not None

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
                    end_job(connection, row.id, JobState.FAILED, GenerationError(detail=problem))
                    continue
                began = now()
                taken = {"state": JobState.LOADING, "worker": worker_id, "started_at": began, "reported_at": began}
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(taken))
                return snapshots.one(connection, row.id)
            return None

    def report(self, job_id: str, progress: Progress) -> None:
        """Store where a job is; it is running from the first phase after loading. A preview replaces the one before.

        Raises Cancelled when it is not this worker's any more.
        """
        with self._database.writing(part=job_id) as connection:
            if not self._may_speak(connection, job_id):
                raise Cancelled
            present = snapshots.state_of(connection, job_id)
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
            return [snapshots.one(connection, row.id) for row in rows]
