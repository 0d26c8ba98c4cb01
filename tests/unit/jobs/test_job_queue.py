"""The queue alone, in one process: the state machine against a model, and what is stored."""

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from core.errors import GenerationError, NotFoundError, StudioError, WorkerDiedError
from core.jobs.queue import JobQueue, new_id
from core.jobs.records import read_error, read_progress, read_status, write_status
from core.jobs.states import ENDED, TRANSITIONS, IllegalTransition
from core.storage.database import Database, now
from core.types import Decision, GenerationRequest, JobState, Phase, Progress, WorkerStatus

REQUEST = GenerationRequest(prompt="a", seed=1)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    database = Database(tmp_path / "studio.db")
    yield JobQueue(database)
    database.close()


class Jobs(RuleBasedStateMachine):
    """Any calls in any order: the queue does what the table of transitions allows, and refuses the rest."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.folder.name) / "studio.db")
        self.queue = JobQueue(self.database)
        self.states: dict[str, JobState] = {}  # in order of arrival
        self.workers: dict[str, str] = {}

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @rule(target=ids)
    def add(self) -> str:
        job = self.queue.add(REQUEST)
        self.states[job.id] = JobState.QUEUED
        return job.id

    @rule(worker=st.sampled_from(["one", "two"]))
    def claim(self, worker: str) -> None:
        first = next((job_id for job_id, state in self.states.items() if state is JobState.QUEUED), None)
        assert self.queue.has_waiting() == (first is not None)
        job = self.queue.claim(worker)
        assert (job.id if job else None) == first
        if job:
            self.states[job.id], self.workers[job.id] = JobState.LOADING, worker

    @rule(job_id=ids, phase=st.sampled_from(list(Phase)))
    def report(self, job_id: str, phase: Phase) -> None:
        present = self.states[job_id]
        loading = phase is Phase.LOADING and present is not JobState.RUNNING
        self._move(job_id, JobState.LOADING if loading else JobState.RUNNING, report=Progress(phase, preview=b"x"))

    @rule(job_id=ids, state=st.sampled_from(list(JobState)))
    def finish(self, job_id: str, state: JobState) -> None:
        self._move(job_id, state)

    def _move(self, job_id: str, state: JobState, report: Progress | None = None) -> None:
        present = self.states[job_id]
        legal = state in TRANSITIONS[present] and (present is not JobState.QUEUED if report else state in ENDED)
        try:
            if report:
                self.queue.report(job_id, report)
            else:
                self.queue.finish(job_id, state, GenerationError(detail="x") if state is JobState.FAILED else None)
        except IllegalTransition:
            assert not legal
        else:
            assert legal
            self.states[job_id] = state

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        job = self.queue.request_cancel(job_id)
        if self.states[job_id] is JobState.QUEUED:
            self.states[job_id] = JobState.CANCELLED
        assert job.state is self.states[job_id]

    @rule(worker=st.sampled_from(["one", "two"]))
    def abandon(self, worker: str) -> None:
        held = [
            job_id
            for job_id, state in self.states.items()
            if state in (JobState.LOADING, JobState.RUNNING) and self.workers.get(job_id) == worker
        ]
        lost = self.queue.abandon(worker, "signal 9 (killed)")
        assert [job.id for job in lost] == held
        assert all(isinstance(job.error, WorkerDiedError) and job.state is JobState.FAILED for job in lost)
        self.states.update(dict.fromkeys(held, JobState.FAILED))

    @invariant()
    def the_table_agrees(self) -> None:
        jobs = {job.id: job for job in self.queue.recent(1000)}
        assert {job_id: job.state for job_id, job in jobs.items()} == self.states
        places = itertools.count(1)
        for job_id, state in self.states.items():
            job = jobs[job_id]
            assert job.position == (next(places) if state is JobState.QUEUED else None)
            assert (job.finished_at is not None) == (state in ENDED)
            assert replace(job, error=None) == replace(self.queue.get(job_id), error=None)
            assert (job.error is not None) == (state is JobState.FAILED)
            assert state not in ENDED or self.queue.preview(job_id) is None


Jobs.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
test_any_calls_in_any_order = Jobs.TestCase


def test_a_job_that_is_not_there(queue: JobQueue) -> None:
    for call in (queue.get, queue.request_cancel):
        with pytest.raises(NotFoundError, match="no job with the id nowhere"):
            call("nowhere")
    assert queue.preview("nowhere") is None and queue.claim("w") is None


def test_cancel_marks_a_job_in_work_once_and_leaves_an_ended_one(queue: JobQueue) -> None:
    job = queue.add(REQUEST)
    queue.claim("w")
    assert not queue.is_cancel_requested(job.id)
    assert queue.request_cancel(job.id).state is JobState.LOADING
    assert queue.is_cancel_requested(job.id)
    queue.finish(job.id, JobState.CANCELLED)
    assert queue.request_cancel(job.id) == queue.get(job.id)


def test_ids_sort_by_time_and_fit() -> None:
    ids = [new_id() for _ in range(2000)]
    assert ids == sorted(ids) and len(set(ids)) == 2000 and {len(job_id) for job_id in ids} == {32}


def test_jobs_outlive_the_process(tmp_path: Path) -> None:
    first = Database(tmp_path / "studio.db")
    ids = [JobQueue(first).add(REQUEST).id for _ in range(3)]
    first.close()
    again = Database(tmp_path / "studio.db")
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
