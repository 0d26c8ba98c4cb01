"""Whatever ends: the worker, the app, both. Each test has a folder and a worker of its own."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest

from core.config.loader import PROJECT_ROOT, load_settings
from core.errors import (
    CrashLoopError,
    DiskFullError,
    GenerationError,
    StudioError,
    WorkerDiedError,
    WorkerStartError,
)
from core.jobs import generator_protocol
from core.jobs import runner as runner_module
from core.jobs import supervisor as supervisor_module
from core.jobs.generator_protocol import EXIT_DEVICE, EXIT_LOCKED, LazyGenerator
from core.jobs.queue import JobQueue
from core.jobs.runner import JobRunner
from core.jobs.supervisor import FIRST_DELAY, LONGEST_DELAY, MAX_STARTS
from core.jobs.worker_process import WorkerConfig
from core.jobs.worker_registry import WorkerRegistry
from core.types import GeneratedImage, JobState
from tests.integration.jobs.fake_generator import DEADLY, FakeGenerator
from tests.integration.jobs.harness import FAKE, JobHarness, make_request, wait_for, wait_until_gone
from tests.options import measured

posix = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")

LISTENS = {"fake_step_seconds": 0.2}
VALUES = {**load_settings().values, "model.preload": False, "worker.unload_minutes": 0.0}
DEAF = {"fake_fails": "deaf"}  # the second step hears nothing for a minute


@posix
def test_the_job_of_a_killed_worker_goes_on_and_no_image_is_made_twice(harness: JobHarness) -> None:
    harness.supervisor.start()
    pid = harness.worker_pid()
    job_id, following = harness.submit(num_images=3, fake_step_seconds=0.05), harness.submit()
    kept = harness.until(job_id, lambda job: len(job.image_ids) == 1).image_ids[0]
    os.kill(pid, signal.SIGKILL)
    waiting = harness.until(job_id, lambda job: job.state is JobState.QUEUED)
    assert isinstance(waiting.error, WorkerDiedError) and "signal 9: killed" in waiting.error.message("en")
    assert "信号 9，被强制结束" in waiting.error.message("zh") and "killed" not in waiting.error.message("zh")
    assert (waiting.crashes, waiting.position) == (1, 1) and harness.queue.preview(job_id) is None
    job = harness.wait(job_id)
    assert job.state is JobState.DONE and job.error is None
    assert [harness.history.get(image).request.seed for image in job.image_ids] == [7, 8, 9]
    assert job.image_ids[0] == kept
    assert harness.wait(following).state is JobState.DONE
    assert harness.worker_pid() != pid


@pytest.mark.slow
def test_a_job_that_workers_die_of_three_times_has_failed_and_the_next_one_runs(harness: JobHarness) -> None:
    harness.supervisor.start()
    job = harness.wait(harness.submit(fake_fails="exit"))
    assert job.state is JobState.FAILED and isinstance(job.error, CrashLoopError) and job.crashes == 3
    assert "3 times" in str(job.error) and "exit code 3" in str(job.error)
    assert harness.wait(harness.submit()).state is JobState.DONE
    assert harness.queue.retry(job.id).crashes == 0


@pytest.mark.slow
def test_a_card_that_failed_gets_a_new_worker_and_the_job_is_tried_again(harness: JobHarness) -> None:
    harness.supervisor.start()
    pid = harness.worker_pid()
    job = harness.wait(harness.submit(fake_fails="card"))
    assert job.state is JobState.FAILED and job.crashes == 3
    assert "CUDA error: device-side assert triggered" in str(job.error)
    assert harness.wait(harness.submit()).state is JobState.DONE and harness.worker_pid() != pid


@pytest.mark.option("worker.timeout")
def test_a_worker_that_hangs_is_ended_and_the_job_told_why(tmp_path: Path) -> None:
    harness = JobHarness(tmp_path, **{"worker.timeout": 1.0})
    try:
        harness.supervisor.start()
        job_id = harness.submit(**DEAF)
        job = harness.until(job_id, lambda job: job.crashes == 1)
        assert "no step in 1 s" in str(job.error) and job.error and "1 秒内没有任何进展" in job.error.message("zh")
        harness.queue.cancel(job_id)
        assert harness.wait(job_id).state is JobState.CANCELLED
        assert harness.wait(harness.submit()).state is JobState.DONE
        measured("worker.timeout", "1: a worker without a step for 1 s was ended, its job run again, the next one done")
    finally:
        harness.close()


@pytest.mark.slow
def test_a_paused_job_stops_within_a_step_and_goes_on_where_it_was(harness: JobHarness) -> None:
    harness.supervisor.start()
    job_id = harness.submit(num_images=3, fake_step_seconds=0.1)
    kept = harness.until(job_id, lambda job: len(job.image_ids) == 1).image_ids
    harness.queue.pause_job(job_id, True)
    following = harness.wait(harness.submit())
    paused = harness.queue.get(job_id)
    assert following.state is JobState.DONE
    assert paused.state is JobState.QUEUED and paused.held and paused.crashes == 0
    harness.queue.pause_job(job_id, False)
    job = harness.wait(job_id)
    assert job.state is JobState.DONE and len(job.image_ids) == 3 and set(kept) <= set(job.image_ids)


@pytest.mark.option("worker.unload_minutes")
def test_an_idle_model_gives_its_memory_back_and_the_next_job_loads_it_again(tmp_path: Path) -> None:
    harness = JobHarness(tmp_path, **{"worker.unload_minutes": 0.005})
    try:
        harness.supervisor.start()
        pid = harness.worker_pid()
        harness.wait(harness.submit())
        status = wait_for(lambda: (now := harness.supervisor.status()).unloaded_from and now)
        assert status.pid != pid and status.model is None
        assert status.unloaded_from > 10_000_000
        measured("worker.unload_minutes", "0.005: the idle worker gave its memory back; the next job was done")
        assert harness.wait(harness.submit()).state is JobState.DONE
        assert harness.queue.active(9) == []
    finally:
        harness.close()


@pytest.mark.parametrize("manner", [pytest.param(LISTENS, marks=pytest.mark.slow), DEAF])
def test_stop_ends_the_worker_in_mid_job(harness: JobHarness, manner: dict[str, Any]) -> None:
    harness.supervisor.start()
    pid = harness.worker_pid()
    job_id = harness.submit(num_inference_steps=100, **manner)
    harness.until(job_id, lambda job: bool(job.progress and job.progress.step == 1))
    harness.supervisor.stop()
    assert not psutil.pid_exists(pid)
    job = harness.queue.get(job_id)
    assert job.state is JobState.QUEUED and job.position == 1
    assert harness.supervisor.status().state == "stopped"
    harness.queue.cancel(job_id)
    following = harness.submit()
    harness.supervisor.start()
    assert harness.wait(following).state is JobState.DONE


@posix
@pytest.mark.parametrize("manner", [pytest.param(LISTENS, marks=pytest.mark.slow), DEAF])
def test_the_worker_of_a_killed_app_is_gone_and_its_job_is_queued_again_by_the_next_start(
    harness: JobHarness, manner: dict[str, Any]
) -> None:
    command = [sys.executable, "-m", "tests.integration.jobs.parent", str(harness.directory), harness.place]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        job_id = harness.submit(num_inference_steps=100, **manner)
        harness.until(job_id, lambda job: bool(job.progress and job.progress.step == 1))
        owner.kill()
        wait_until_gone(pid)
    harness.queue.pause(True)
    harness.supervisor.start()
    job = harness.queue.get(job_id)  # no waiting: the sweep is over when start returns
    assert job.state is JobState.QUEUED and job.position == 1
    harness.queue.cancel(job_id)
    harness.queue.pause(False)
    assert harness.wait(harness.submit()).state is JobState.DONE


@pytest.mark.slow
def test_a_worker_whose_stdin_is_held_open_still_sees_that_its_owner_is_gone(harness: JobHarness) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as owner:
        values = {**VALUES, "storage.database": harness.place}
        config = WorkerConfig("w", owner.pid, harness.directory, PROJECT_ROOT / "configs", values)
        command = [sys.executable, "-m", "core.jobs.worker", "--generator", FAKE]
        with subprocess.Popen(command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE) as worker:
            assert worker.stdin is not None
            worker.stdin.write(config.to_line().encode())
            worker.stdin.flush()
            wait_for(lambda: harness.supervisor.status().state == "idle")
            owner.kill()
            wait_until_gone(worker.pid)


def test_the_end_of_a_job_is_written_once_the_disk_has_room_again(harness: JobHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([DiskFullError(path="x"), DiskFullError(path="x")])
    finish = JobQueue.finish

    def finish_on_a_full_disk(queue: JobQueue, job_id: str, state: JobState, error: StudioError | None = None) -> None:
        for refusal in refusals:
            raise refusal
        finish(queue, job_id, state, error)

    monkeypatch.setattr(runner_module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(JobQueue, "finish", finish_on_a_full_disk)
    job_id = harness.submit()
    ended = _runner(harness).run_next()
    assert ended and (ended[0].id, ended[1]) == (job_id, JobState.DONE)
    assert harness.queue.get(job_id).state is JobState.DONE


def test_a_runner_takes_what_waits_one_by_one_and_says_how_each_ended(harness: JobHarness) -> None:
    """Any process can run jobs: what makes images, and who is told that it is at work, are given to it."""
    said: list[str] = []
    runner = _runner(harness, said)
    good, bad = harness.submit(num_images=2), harness.submit(fake_fails="value")
    ends = [runner.run_next() for _ in range(3)]
    assert [end and (end[0].id, end[1]) for end in ends] == [(good, JobState.DONE), (bad, JobState.FAILED), None]
    assert "busy" in said and not runner.device_failed
    assert len(harness.history.places_of(good)) == 2


class OneRevision(FakeGenerator):
    """Has a model of this revision; the card fails after `most` images."""

    def __init__(self, revision: str, most: int) -> None:
        super().__init__()
        self.revision, self.left = revision, most

    def _draw(self, *given: Any) -> GeneratedImage:
        if not self.left:
            raise RuntimeError("CUDA error: unspecified launch failure")
        self.left -= 1
        files = {"model.fingerprint": self.revision, "model.files": {"transformer": self.revision}}
        return replace(super()._draw(*given), effective=files)


def test_images_of_a_job_that_began_with_other_model_files_say_so(harness: JobHarness) -> None:
    job_id = harness.submit(num_images=3)
    for revision, most in (("old", 1), ("old", 1), ("new", 9)):
        _runner(harness, generator=OneRevision(revision, most)).run_next()
    records = [harness.history.get(image_id) for image_id in harness.queue.get(job_id).image_ids]
    notes = [[(one.requested, one.effective) for one in record.decisions] for record in records]
    assert sorted(notes) == [[], [], [("old", "new")]]


def _runner(harness: JobHarness, said: list[str] | None = None, generator: FakeGenerator | None = None) -> JobRunner:
    say = [] if said is None else said
    lazy = LazyGenerator(lambda: generator or FakeGenerator())
    return JobRunner("w", harness.database, harness.directory, lazy, say.append, Event())


@pytest.mark.slow
def test_two_apps_over_one_folder_share_one_worker(harness: JobHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "LOCKED_DELAY", 0.3)
    harness.supervisor.start()
    pid = harness.worker_pid()
    second = JobHarness(harness.directory, place=harness.place)
    try:
        slow = harness.submit(fake_step_seconds=0.5)
        harness.wait(slow, JobState.RUNNING)
        second.supervisor.start()
        wait_for(lambda: (process := second.supervisor._process) and process.returncode == EXIT_LOCKED)
        ids = [slow, second.submit(), harness.submit(), second.submit()]
        assert len(WorkerRegistry(harness.database).known()) == 1
        assert [second.wait(job_id).state for job_id in ids] == [JobState.DONE] * 4  # none taken for a dead worker's
        assert second.supervisor.status().pid == harness.supervisor.status().pid == pid
        harness.supervisor.stop()
        assert second.wait(second.submit()).state is JobState.DONE
        assert second.worker_pid() != pid
    finally:
        second.close()


@pytest.mark.slow
def test_jobs_in_work_without_a_worker_run_first_at_the_next_start(harness: JobHarness) -> None:
    lost, waiting = harness.submit(), harness.submit()
    assert harness.queue.claim("a worker of yesterday")
    harness.supervisor.start()
    assert harness.queue.get(lost).crashes == 1
    last = harness.wait(waiting)
    job = harness.queue.get(lost)
    assert (job.state, last.state) == (JobState.DONE, JobState.DONE)
    assert job.started_at and last.started_at and job.started_at < last.started_at


def test_a_generator_that_cannot_be_built_fails_jobs_with_its_reason(tmp_path: Path) -> None:
    harness = JobHarness(tmp_path, "tests.integration.jobs.fake_generator:build_nothing")
    try:
        harness.supervisor.start()
        job = harness.wait(harness.submit())
        assert isinstance(job.error, GenerationError) and "libtorch.so is not there" in str(job.error)
    finally:
        harness.close()


@pytest.mark.option("model.preload")
def test_the_model_is_loaded_ahead_of_the_first_job(tmp_path: Path) -> None:
    harness = JobHarness(tmp_path, **{"model.preload": True})
    try:
        harness.supervisor.start()
        assert wait_for(lambda: harness.supervisor.status().model) == "demo"
        measured("model.preload", "true: the model was in memory before any job came")
    finally:
        harness.close()


@pytest.mark.slow
def test_orders_that_are_no_orders_end_the_worker(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "core.jobs.worker"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, input=b"hi\n", capture_output=True)
    assert done.returncode == 1


class Waits(Event):
    """An event that is never waited on: it notes for how long it should have been, and is set after `limit` waits."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.noted: list[float] = []
        self._limit = limit

    def wait(self, timeout: float | None = None) -> bool:
        self.noted.append(timeout or 0.0)
        if len(self.noted) == self._limit:
            self.set()
        return self.is_set()


def test_restarts_wait_longer_each_time_until_a_worker_was_good(harness: JobHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    lives = iter(["bad"] * 9 + ["locked", "bad", "good", "bad"])
    monkeypatch.setattr(harness.supervisor, "_run_worker_once", lambda stopping: next(lives))
    waits = Waits(13)
    harness.supervisor._keep_alive(waits)
    doubled = [min(FIRST_DELAY * 2**n, LONGEST_DELAY) for n in range(9)]
    assert waits.noted == pytest.approx([*doubled, 5.0, LONGEST_DELAY, FIRST_DELAY, 2 * FIRST_DELAY])


@posix
@pytest.mark.parametrize(
    ("code", "english", "chinese"),
    [
        (0, "exit code 0", "退出码 0"),
        (3, "exit code 3", "退出码 3"),
        (EXIT_DEVICE, "the device failed", "设备故障"),
        (-9, "signal 9: killed, often for want of memory", "信号 9，被强制结束，常因内存不足"),
        (-11, "signal 11: segmentation fault", "信号 11，段错误"),
    ],
)
def test_exit_codes_in_words(code: int, english: str, chinese: str) -> None:
    assert generator_protocol.ended(code) == {"en": english, "zh": chinese}


@posix
@pytest.mark.slow
def test_a_worker_that_ends_before_it_can_begin_is_told_of_until_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = JobHarness(tmp_path, "tests.integration.jobs.fake_generator:build_killed")
    try:
        monkeypatch.setenv(DEADLY, "1")
        job_id = harness.submit()
        harness.supervisor.start()
        trouble = wait_for(lambda: harness.supervisor.status().trouble)
        assert isinstance(trouble, WorkerStartError) and trouble.values["times"] >= MAX_STARTS
        assert "signal 9: killed" in trouble.message("en") and "信号 9，被强制结束" in trouble.message("zh")
        assert harness.queue.get(job_id).crashes == 0, "it is not the job's fault"
        monkeypatch.delenv(DEADLY)
        assert harness.wait(job_id).state is JobState.DONE
        assert wait_for(lambda: harness.supervisor.status().state in ("idle", "busy") and harness.supervisor.status())
        assert harness.supervisor.status().trouble is None
    finally:
        harness.close()


def test_a_request_is_not_changed_by_the_queue(harness: JobHarness) -> None:
    request = make_request("emoji 🏠, مرحبا,\nline", **{"cfg_scale": 2.5})
    assert harness.queue.get(harness.queue.submit(request).id).request == request
