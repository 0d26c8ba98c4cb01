"""The queue alone, in one process: the state machine against a model, and what is stored."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, event, insert, text

from core.errors import (
    CrashLoopError,
    GenerationError,
    JobStateError,
    KeyReusedError,
    NotFoundError,
    QueueFullError,
    StudioError,
    WorkerDiedError,
)
from core.jobs import generator_protocol
from core.jobs.job_rows import ENDED, IN_WORK, TRANSITIONS, WINDOW, IllegalTransition, new_id, row_of
from core.jobs.queue import MAX_SHOWN, JobQueue
from core.jobs.serialization import read_error, read_progress, read_status, write_status
from core.jobs.worker_queue import MAX_CRASHES
from core.storage.database import Database, now, timestamp
from core.storage.tables import batches, jobs, previews, switches
from core.types import Decision, GenerationRequest, Job, JobState, Phase, Progress, SubmitOptions, WorkerStatus
from tests.conftest import SERVER, OpenDatabase
from tests.examples import examples

REQUEST = GenerationRequest(prompt="a", seed=1)


@pytest.fixture
def database(tmp_path: Path, open_database: OpenDatabase) -> Iterator[Database]:
    opened = open_database(tmp_path / "studio.db")
    yield opened
    opened.close()


@pytest.fixture
def queue(database: Database) -> JobQueue:
    return JobQueue(database)


class Jobs(RuleBasedStateMachine):
    """Any calls in any order: the queue does what the table of transitions allows, and refuses the rest."""

    ids = Bundle("ids")

    def __init__(self, database: Database) -> None:
        super().__init__()
        with database.writing() as connection:
            for table in (jobs, batches, previews, switches):
                connection.execute(delete(table))
        self.queue = JobQueue(database)
        self.states: dict[str, JobState] = {}
        self.line: list[str] = []  # every job, in the order in which it would run if it were queued
        self.held: set[str] = set()
        self.crashes: dict[str, int] = {}
        self.workers: dict[str, str] = {}
        self.paused = False

    def waiting(self) -> list[str]:
        return [j for j in self.line if self.states[j] is JobState.QUEUED and j not in self.held]

    @rule(target=ids)
    def add(self) -> str:
        job = self.queue.submit(REQUEST)
        self.states[job.id], self.crashes[job.id] = JobState.QUEUED, 0
        self.line.append(job.id)
        return job.id

    @rule(worker=st.sampled_from(["one", "two"]))
    def claim(self, worker: str) -> None:
        first = None if self.paused else next(iter(self.waiting()), None)
        assert self.queue.has_waiting() == (first is not None)
        job = self.queue.claim(worker)
        assert (job.id if job else None) == first
        if job:
            self.states[job.id], self.workers[job.id] = JobState.LOADING, worker

    @rule(job_id=ids, phase=st.sampled_from(list(Phase)))
    def report(self, job_id: str, phase: Phase) -> None:
        present = self.states[job_id]
        loading = phase is Phase.LOADING and present is not JobState.RUNNING
        state = JobState.LOADING if loading else JobState.RUNNING
        legal = present in IN_WORK and state in TRANSITIONS[present]
        self._try(job_id, state, legal, lambda: self.queue.report(job_id, Progress(phase, preview=b"x")))

    @rule(job_id=ids, state=st.sampled_from(list(JobState)))
    def finish(self, job_id: str, state: JobState) -> None:
        error = GenerationError(detail="x") if state is JobState.FAILED else None
        legal = state in ENDED and state in TRANSITIONS[self.states[job_id]]
        if self._try(job_id, state, legal, lambda: self.queue.finish(job_id, state, error)):
            self.held.discard(job_id)

    @rule(job_id=ids)
    def requeue(self, job_id: str) -> None:
        legal = self.states[job_id] in IN_WORK
        if legal or self.states[job_id] not in (JobState.FAILED, JobState.CANCELLED):
            self._try(job_id, JobState.QUEUED, legal, lambda: self.queue.requeue(job_id))

    def _try(self, job_id: str, state: JobState, legal: bool, call: Callable[[], object]) -> bool:
        try:
            call()
        except (IllegalTransition, JobStateError):
            assert not legal
            return False
        assert legal
        self.states[job_id] = state
        return True

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        job = self.queue.cancel(job_id)
        if self.states[job_id] is JobState.QUEUED:
            self.states[job_id] = JobState.CANCELLED
            self.held.discard(job_id)
        assert job.state is self.states[job_id]

    @rule(job_id=ids, held=st.booleans())
    def hold(self, job_id: str, held: bool) -> None:
        legal = self.states[job_id] not in ENDED
        if self._try(job_id, self.states[job_id], legal, lambda: self.queue.pause_job(job_id, held)):
            (self.held.add if held else self.held.discard)(job_id)

    @rule(job_id=ids)
    def retry(self, job_id: str) -> None:
        legal = self.states[job_id] in (JobState.FAILED, JobState.CANCELLED)
        if self._try(job_id, JobState.QUEUED, legal, lambda: self.queue.retry(job_id)):
            self.line.remove(job_id)
            self.line.append(job_id)
            self.crashes[job_id] = 0

    @rule(job_id=ids, position=st.integers(-1, 8))
    def move(self, job_id: str, position: int) -> None:
        queued = [j for j in self.line if self.states[j] is JobState.QUEUED]
        if self._try(job_id, JobState.QUEUED, job_id in queued, lambda: self.queue.move(job_id, position)):
            queued.remove(job_id)
            own = self.line.index(job_id)
            self.line.remove(job_id)
            at = min(max(position - 1, 0), len(queued))
            if at < len(queued):
                self.line.insert(self.line.index(queued[at]), job_id)
            elif queued:
                self.line.insert(self.line.index(queued[-1]) + 1, job_id)
            else:
                self.line.insert(own, job_id)

    @rule()
    def clear(self) -> None:
        queued = [j for j, state in self.states.items() if state is JobState.QUEUED]
        assert self.queue.clear() == len(queued)
        self.states.update(dict.fromkeys(queued, JobState.CANCELLED))
        self.held.difference_update(queued)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.queue.pause(paused)
        self.paused = paused
        assert self.queue.is_paused() == paused

    @rule(worker=st.sampled_from(["one", "two"]))
    def abandon(self, worker: str) -> None:
        taken = [j for j, state in self.states.items() if state in IN_WORK and self.workers.get(j) == worker]
        doomed = {j for j in taken if self.queue.get(j).cancel_requested}
        lost = self.queue.abandon(worker, generator_protocol.ended(-9))
        assert [job.id for job in lost] == taken
        for job in lost:
            self.crashes[job.id] += 1
            parked = self.crashes[job.id] >= MAX_CRASHES
            self.states[job.id] = (
                JobState.CANCELLED if job.id in doomed else JobState.FAILED if parked else JobState.QUEUED
            )
            if job.state in ENDED:
                self.held.discard(job.id)
            expected = CrashLoopError if job.state is JobState.FAILED else WorkerDiedError
            assert job.id in doomed or type(job.error) is expected

    @invariant()
    def the_table_agrees(self) -> None:
        jobs = {job.id: job for job in self.queue.recent(1000)}
        assert {job_id: job.state for job_id, job in jobs.items()} == self.states
        assert {job_id: job.crashes for job_id, job in jobs.items()} == self.crashes
        assert {job_id for job_id, job in jobs.items() if job.held} == self.held
        places = {job_id: k for k, job_id in enumerate(self.waiting(), start=1)}
        for job_id, state in self.states.items():
            job = jobs[job_id]
            assert job.position == places.get(job_id)
            assert (job.finished_at is not None) == (state in ENDED)
            assert (job.error is not None) or state is not JobState.FAILED
            assert state in IN_WORK or self.queue.preview(job_id) is None
        active = [job.id for job in self.queue.active(1000)]
        assert set(active) == {j for j, state in self.states.items() if state not in ENDED}
        assert [j for j in active if self.states[j] is JobState.QUEUED and j not in self.held] == self.waiting()


@pytest.mark.all_databases
@pytest.mark.by_default("sqlite")
def test_any_calls_in_any_order(database: Database) -> None:
    wished = settings(max_examples=examples(24), stateful_step_count=20, deadline=None)
    run_state_machine_as_test(lambda: Jobs(database), settings=wished)


def test_a_job_that_is_not_there(queue: JobQueue) -> None:
    for call in (queue.get, queue.cancel):
        with pytest.raises(NotFoundError, match="no job with the id nowhere"):
            call("nowhere")
    assert queue.preview("nowhere") is None and queue.claim("w") is None


def test_cancel_marks_a_job_in_work_once_and_leaves_an_ended_one(queue: JobQueue) -> None:
    job = queue.submit(REQUEST)
    queue.claim("w")
    assert not queue.is_cancel_requested(job.id)
    assert queue.cancel(job.id).state is JobState.LOADING
    assert queue.is_cancel_requested(job.id)
    queue.finish(job.id, JobState.CANCELLED)
    assert queue.cancel(job.id) == queue.get(job.id)


def test_the_highest_priority_runs_first_and_equals_in_the_order_of_arrival(queue: JobQueue) -> None:
    ids = {
        name: queue.submit(REQUEST, SubmitOptions(priority=rank)).id
        for name, rank in (("a", 0), ("b", 5), ("c", 0), ("d", 5))
    }
    assert [queue.get(ids[name]).position for name in "bdac"] == [1, 2, 3, 4]
    assert [claimed(queue).id for _ in ids] == [ids[name] for name in "bdac"]


def claimed(queue: JobQueue) -> Job:
    job = queue.claim("w")
    assert job is not None
    return job


def test_a_moved_job_takes_the_priority_that_its_new_place_needs(queue: JobQueue) -> None:
    high, low = queue.submit(REQUEST, SubmitOptions(priority=9)), queue.submit(REQUEST)
    assert queue.move(low.id, 1).priority == 9
    assert [job.id for job in queue.active(9)] == [low.id, high.id]
    assert queue.prioritise(low.id, -3).position == 2


def test_move_puts_one_job_at_its_position_and_keeps_the_others_in_order(queue: JobQueue) -> None:
    dice = random.Random(7)
    for rank in (2, 1, 1, 0, 0, 0, -1):
        queue.submit(REQUEST, SubmitOptions(priority=rank))
    for _ in range(60):  # more often than gaps between places last
        line = [job.id for job in queue.active(9)]
        ranks = {job.id: job.priority for job in queue.active(9)}
        name, position = dice.choice(line), dice.randrange(-1, len(line) + 3)
        rest = [job_id for job_id in line if job_id != name]
        at = min(max(position - 1, 0), len(rest))
        moved = queue.move(name, position)
        assert [job.id for job in queue.active(9)] == [*rest[:at], name, *rest[at:]]
        assert moved.position == at + 1
        assert all(job.priority == ranks[job.id] for job in queue.active(9) if job.id != name)


@contextmanager
def statements_of(database: Database) -> Iterator[list[tuple[str, int]]]:
    """The statements that are executed meanwhile, each with the number of rows that it changed or -1."""
    seen: list[tuple[str, int]] = []

    def note(_connection: Any, cursor: Any, statement: str, *_more: Any) -> None:
        seen.append((statement, cursor.rowcount))

    event.listen(database._engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database._engine, "after_cursor_execute", note)


def test_moves_touch_a_few_rows_however_long_the_queue_and_the_past(database: Database, queue: JobQueue) -> None:
    rows = [row_of(new_id(), REQUEST, SubmitOptions(), 64 * k) for k in range(400)]
    for row in rows[:200]:
        row["state"] = JobState.DONE
    with database.writing() as connection:
        connection.execute(insert(jobs), rows)
    for position in (*[1] * 20, *[3] * 20):  # to one spot, again and again
        with statements_of(database) as seen:
            queue.move(rows[-1 - position].get("id"), position)
            queue.move(rows[-1].get("id"), position)
        changed = [count for statement, count in seen if statement.startswith("UPDATE")]
        assert sum(changed) <= 2 * 8 and len(seen) <= 2 * 13, seen
    assert queue.count_active() == 200


def test_a_queue_without_room_between_its_jobs_is_spread(database: Database, queue: JobQueue) -> None:
    rows = [row_of(new_id(), REQUEST, SubmitOptions(), 1000 + k) for k in range(2 * WINDOW)]
    with database.writing() as connection:
        connection.execute(insert(jobs), rows)
    line = [row["id"] for row in rows]
    for position in (2, 5, WINDOW + 20, 2):
        moved = line.pop()
        line.insert(position - 1, moved)
        assert queue.move(moved, position).position == position
        assert [job.id for job in queue.active(1000)] == line


def test_a_moved_job_stays_ahead_of_later_ones(queue: JobQueue) -> None:
    first, second = queue.submit(REQUEST), queue.submit(REQUEST)
    queue.move(first.id, 2)
    later = queue.submit(REQUEST)
    assert [job.id for job in queue.active()] == [second.id, first.id, later.id]


def test_more_jobs_than_a_snapshot_shows(queue: JobQueue) -> None:
    ids = [queue.submit(REQUEST, SubmitOptions(client="ab"[k % 2])).id for k in range(MAX_SHOWN + 6)]
    running = claimed(queue)
    shown = queue.snapshot()
    assert [job.id for job in shown.jobs] == ids[:MAX_SHOWN] and shown.total == queue.count_active() == len(ids)
    rest = queue.active(after=shown.jobs[-1].id)
    assert [job.id for job in rest] == ids[MAX_SHOWN:] and rest[-1].position == len(ids) - 1
    mine = queue.active(client="b", after=running.id, limit=1000)
    assert [job.id for job in mine] == ids[1::2] and queue.count_active("b") == len(mine)
    assert [job.position for job in mine[:3]] == [1, 3, 5]
    with pytest.raises(NotFoundError):
        queue.active(after="none")


def test_a_job_for_later_waits_for_its_time(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    then = datetime.now(UTC) + timedelta(hours=1)
    later = queue.submit(REQUEST, SubmitOptions(not_before=then))
    following = queue.submit(REQUEST)
    assert later.position is None and later.not_before == then and following.position == 1
    assert claimed(queue).id == following.id and queue.claim("w") is None and not queue.has_waiting()
    for module in ("worker_queue", "job_rows"):
        monkeypatch.setattr(f"core.jobs.{module}.now", lambda: timestamp(then))
    assert queue.has_waiting() and queue.get(later.id).position == 1 and claimed(queue).id == later.id


def test_a_job_is_put_off_until_a_time_or_until_it_is_told(queue: JobQueue) -> None:
    then = datetime.now(UTC) + timedelta(hours=1)
    job, held = queue.submit(REQUEST), queue.submit(REQUEST, SubmitOptions(held=True))
    assert held.held and held.position is None
    assert queue.postpone(job.id, then).not_before == then and not queue.has_waiting()
    assert queue.postpone(job.id, None).position == 1 and claimed(queue).id == job.id
    with pytest.raises(JobStateError, match="run later"):
        queue.postpone(job.id, then)
    assert queue.pause_job(held.id, False).position == 1


BATCH = replace(REQUEST, num_images=3, images=({}, {"prompt": "b", "template": "{b|c}"}, {"width": 64, "seed": 9}))


def test_a_batch_is_read_as_it_was_added(queue: JobQueue) -> None:
    job = queue.submit(BATCH)
    assert queue.get(job.id).request == BATCH == queue.recent(1)[0].request == claimed(queue).request
    assert [(one.prompt, one.width, one.seed) for one in BATCH.per_image_requests()] == [
        ("a", 256, 1),
        ("b", 256, 1),
        ("a", 64, 9),
    ]
    assert queue.retry(fail(queue, job.id)).request == BATCH


def fail(queue: JobQueue, job_id: str) -> str:
    queue.finish(job_id, JobState.FAILED, GenerationError(detail="x"))
    return job_id


@pytest.mark.parametrize("stored", ["{broken", "[]", "{}", "[1]", '[{"num_images": 2}]', '[{"seed": "x"}]'])
def test_images_that_cannot_be_read_fail_the_job_and_no_other(database: Database, stored: str, dialect: str) -> None:
    if dialect == SERVER and stored == "{broken":
        pytest.skip("the column takes JSON alone")
    queue = JobQueue(database)
    broken, good = queue.submit(BATCH), queue.submit(REQUEST)
    with database.writing() as connection:
        connection.execute(text("update batches set pictures = :stored"), {"stored": stored})
    assert claimed(queue).id == good.id
    job = queue.get(broken.id)
    assert job.state is JobState.FAILED and "stored" in str(job.error)


def test_a_key_gives_its_job_again_for_its_client_only(queue: JobQueue) -> None:
    first = queue.submit(REQUEST, SubmitOptions(client="a", key="k", key_digest="1"))
    assert queue.submit(REQUEST, SubmitOptions(client="a", key="k", key_digest="1")).id == first.id
    assert queue.submit(REQUEST, SubmitOptions(client="b", key="k", key_digest="1")).id != first.id
    with pytest.raises(KeyReusedError, match="key k was used"):
        queue.submit(REQUEST, SubmitOptions(client="a", key="k", key_digest="2"))


def test_a_client_has_only_so_many_jobs_at_once(queue: JobQueue) -> None:
    jobs = [queue.submit(REQUEST, SubmitOptions(client="a"), most=2) for _ in range(2)]
    with pytest.raises(QueueFullError, match="2 jobs"):
        queue.submit(REQUEST, SubmitOptions(client="a"), most=2)
    queue.submit(REQUEST, SubmitOptions(client="b"), most=2)
    queue.cancel(jobs[0].id)
    queue.submit(REQUEST, SubmitOptions(client="a"), most=2)
    assert queue.clear("a") == 2 and len(queue.active(9)) == 1


def test_last_report_changes_with_each_report(queue: JobQueue) -> None:
    job = queue.submit(REQUEST)
    assert queue.last_report("w") is None
    queue.claim("w")
    claimed_at = queue.last_report("w")
    assert claimed_at is not None and queue.last_report("another") is None
    queue.report(job.id, Progress(Phase.TEXT))
    reported_at = queue.last_report("w")
    assert reported_at is not None and reported_at > claimed_at


def test_times_do_not_run_backwards_when_the_clock_is_set(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    job = queue.submit(REQUEST)
    past = timestamp(datetime.now(UTC) - timedelta(hours=1))
    for module in ("worker_queue", "job_rows"):
        monkeypatch.setattr(f"core.jobs.{module}.now", lambda: past)
    queue.claim("w")
    queue.report(job.id, Progress(Phase.TEXT))
    queue.finish(job.id, JobState.DONE)
    ended = queue.get(job.id)
    assert ended.started_at is not None and ended.finished_at is not None
    assert ended.created_at <= ended.started_at <= ended.finished_at


def test_a_claim_without_an_answer_is_found_again(queue: JobQueue) -> None:
    first, second = queue.submit(REQUEST), queue.submit(REQUEST)
    claimed(queue)  # committed, and the connection is lost before the worker hears of it
    again = queue.claim("w", running=set())
    assert again is not None and again.id == first.id
    following = queue.claim("w", running={first.id})
    assert following is not None and following.id == second.id


def test_ids_sort_by_time_and_fit() -> None:
    ids = [new_id() for _ in range(2000)]
    assert ids == sorted(ids) and len(set(ids)) == 2000 and {len(job_id) for job_id in ids} == {32}


def test_jobs_outlive_the_process(tmp_path: Path, open_database: OpenDatabase) -> None:
    first = open_database(tmp_path / "studio.db")
    ids = [JobQueue(first).submit(REQUEST).id for _ in range(3)]
    first.close()
    again = open_database(tmp_path / "studio.db")
    assert [job.id for job in JobQueue(again).recent(10)] == ids[::-1]
    again.close()


@given(st.text(max_size=30))
def test_no_stored_text_breaks_reading(stored: str) -> None:
    assert read_progress(stored) is None or isinstance(read_progress(stored), Progress)
    assert read_error(stored) is None or isinstance(read_error(stored), StudioError)


@pytest.mark.parametrize("stored", ["{}", "[]", "1", '{"code": "WorkerDiedError", "values": {}}', '{"code": "X"}'])
def test_errors_of_other_versions_are_read(stored: str) -> None:
    assert read_error(stored) is None or isinstance(read_error(stored), StudioError)
    assert read_progress(stored) is None


def test_a_status_is_read_as_it_was_written() -> None:
    decision = Decision("model.dtype", "auto", ("a", Path("x")), {"en": "because", "zh": "因为"})
    status = WorkerStatus("busy", 12, "demo", "cpu", 5, 0.5, (decision,), {"torch": "2"})
    back = read_status(write_status(status), now())
    assert back.decisions[0].effective == ["a", "x"] and back.updated_at
    assert (back.state, back.pid, back.model, back.versions) == ("busy", 12, "demo", {"torch": "2"})
