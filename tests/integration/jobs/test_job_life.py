"""Jobs on a real worker process that is never restarted between these tests."""

import json
import time

import pytest
from sqlalchemy import text

from core.errors import CorruptImageError, GenerationError, OutOfMemoryError, StudioError
from core.jobs.worker_process import LOG_FILE
from core.storage.database import now
from core.types import JobState, Phase
from tests.conftest import SERVER
from tests.integration.jobs.harness import JobHarness, wait_for


def test_a_job_is_done_with_its_images(shared: JobHarness) -> None:
    job = shared.wait(shared.submit(num_images=2))
    assert job.state is JobState.DONE and job.error is None and job.position is None
    assert job.started_at and job.finished_at and job.created_at <= job.started_at <= job.finished_at
    assert [shared.history.get(image).request.seed for image in job.image_ids] == [7, 8]
    assert all(shared.history.file(image).exists() for image in job.image_ids)
    assert job.progress and job.progress.fraction == 1.0
    assert shared.queue.preview(job.id) is None


def test_steps_and_their_previews_can_be_seen(shared: JobHarness) -> None:
    job_id = shared.submit(fake_step_seconds=0.5, fake_decode_seconds=0.5)
    steps = {}
    while shared.queue.get(job_id).state.active:
        job = shared.queue.get(job_id)
        if job.progress and job.progress.phase in (Phase.STEPS, Phase.DECODE):
            assert job.state is JobState.RUNNING
            steps[job.progress.step] = shared.queue.preview(job_id)
        time.sleep(0.01)
    assert list(steps) == sorted(steps) and set(steps) <= {1, 2, 3, 4}
    assert len(steps) >= 2, "a busy machine may look past some of them"
    previews = [preview for preview in steps.values() if preview is not None]  # may be a step newer than the job read before
    assert previews and all(preview[:4] == b"RIFF" for preview in previews)


def test_first_come_first_served(shared: JobHarness) -> None:
    shared.queue.pause(True)
    ids = [shared.submit(fake_step_seconds=0.01) for _ in range(4)]
    assert [shared.queue.get(job_id).position for job_id in ids] == [1, 2, 3, 4]
    shared.queue.pause(False)
    jobs = [shared.wait(job_id) for job_id in ids]
    assert [job.started_at for job in jobs] == sorted(job.started_at for job in jobs if job.started_at)
    assert [job.id for job in shared.queue.recent(4)] == ids[::-1]


def test_a_queued_job_is_cancelled_at_once(shared: JobHarness) -> None:
    running = shared.submit(fake_step_seconds=0.3)
    shared.wait(running, JobState.RUNNING)
    waiting = shared.submit()
    assert shared.queue.get(waiting).position == 1
    cancelled = shared.queue.cancel(waiting)
    assert cancelled.state is JobState.CANCELLED and cancelled.started_at is None and cancelled.finished_at
    assert shared.wait(running).state is JobState.DONE
    assert shared.queue.get(waiting).image_ids == ()


def test_a_running_job_is_cancelled_within_a_step_and_keeps_its_finished_images(shared: JobHarness) -> None:
    job_id = shared.submit(num_images=3, fake_step_seconds=0.2)
    shared.until(job_id, lambda job: bool(job.progress and job.progress.image == 2 and job.progress.step >= 1))
    asked = shared.queue.cancel(job_id)
    job = shared.wait(job_id)
    assert asked.cancel_requested and asked.progress and job.progress
    assert job.state is JobState.CANCELLED and job.error is None
    assert len(job.image_ids) == 1
    assert job.progress.image == 2 and job.progress.step <= asked.progress.step + 1


def test_cancelled_while_decoding_saves_nothing(shared: JobHarness) -> None:
    job_id = shared.submit(fake_decode_seconds=0.3)
    shared.until(job_id, lambda job: bool(job.progress and job.progress.phase is Phase.DECODE))
    shared.queue.cancel(job_id)
    job = shared.wait(job_id)
    assert job.state is JobState.CANCELLED and job.image_ids == ()


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        ("value", GenerationError, "ValueError: cannot draw"),
        ("memory", OutOfMemoryError, "cpu at 64x64"),
        ("torch memory", OutOfMemoryError, "cpu at 64x64"),
        ("cpu memory", OutOfMemoryError, "cpu at 64x64"),
        ("studio", CorruptImageError, "NaN at step 2"),
    ],
)
@pytest.mark.by_default(
    "sqlite-local-value-GenerationError-ValueError: cannot draw",
    "sqlite-local-torch memory-OutOfMemoryError-cpu at 64x64",
    "sqlite-local-studio-CorruptImageError-NaN at step 2",
    "sqlite-ray-memory-OutOfMemoryError-cpu at 64x64",
)
def test_what_a_generation_raises_is_told_and_the_next_job_runs(
    shared: JobHarness, failure: str, kind: type[StudioError], words: str
) -> None:
    failed = shared.wait(shared.submit(fake_fails=failure))
    assert failed.state is JobState.FAILED and type(failed.error) is kind
    assert words in failed.error.message("en") and "\n" not in failed.error.message("zh")
    assert failed.image_ids == () and shared.queue.preview(failed.id) is None
    assert shared.wait(shared.submit()).state is JobState.DONE


def test_a_traceback_is_in_the_log_and_no_prompt(shared: JobHarness) -> None:
    prompt = "the secret 'garden' 秘密花园"
    shared.wait(shared.submit(prompt, fake_fails="value"))
    log = (shared.directory / LOG_FILE).read_text("utf-8")
    assert "Traceback" in log and "[prompt]" in log
    assert "garden" not in log and "秘密花园" not in log


@pytest.mark.parametrize("stored", ["{broken", "[1]", '{"width": 64}', '{"prompt": "x", "width": "wide"}', '{"p": 1}'])
def test_an_unreadable_request_fails_and_the_next_job_runs(shared: JobHarness, stored: str, dialect: str) -> None:
    if dialect == SERVER and stored == "{broken":
        pytest.skip("the column takes JSON alone")
    row = {"id": f"bad{hash(stored) % 10**8}", "request": stored, "now": now()}
    with shared.database.writing() as connection:
        connection.execute(
            text(
                "insert into jobs (id, state, request, cancel_requested, created_at)"
                " values (:id, 'queued', :request, false, :now)"
            ),
            row,
        )
    good = shared.submit()
    job = shared.wait(row["id"])
    assert job.state is JobState.FAILED and "stored request" in str(job.error)
    assert shared.wait(good).state is JobState.DONE
    assert row["id"] in [job.id for job in shared.queue.recent(5)]


def test_the_model_stays_loaded_and_the_worker_says_so(shared: JobHarness) -> None:
    for _ in range(2):
        shared.wait(shared.submit())
    wait_for(lambda: shared.supervisor.status().state == "idle")
    status = shared.supervisor.status()
    assert (status.model, status.device) == ("demo", "cpu")
    assert status.versions == {"loads": "1"}  # by all the jobs of this file
    assert status.memory_bytes and status.memory_bytes > 10_000_000
    with shared.database.reading() as connection:
        rows = connection.execute(text("select pid, cast(status as text) as status from workers")).all()
    assert len(rows) == 1 and json.loads(rows[0].status)["good_jobs"] >= 2
    before = status.updated_at
    assert wait_for(lambda: shared.supervisor.status().updated_at != before)
