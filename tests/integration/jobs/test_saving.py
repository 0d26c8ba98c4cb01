"""Images of a job are saved while the next one is generated; a report says whether the job is to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.config.loader import PROJECT_ROOT
from core.errors import NotWritableError, SharedStorageError
from core.history.store import History, PendingImages
from core.jobs import runner
from core.jobs.generator_protocol import APP_NOT_RUNNING, LazyGenerator
from core.jobs.runner import JobRunner
from core.jobs.worker_process import DATABASE_FILE, open_database
from core.storage.database import Database
from core.types import HistoryQuery, JobState, Phase, Progress
from tests.databases import put_database
from tests.integration.jobs import killed_saver
from tests.integration.jobs.fake_generator import FakeGenerator
from tests.integration.jobs.harness import JobQueue, make_request

PATIENCE = 30.0


@pytest.fixture
def database(tmp_path: Path) -> Database:
    put_database(tmp_path / DATABASE_FILE)
    return open_database(tmp_path, {"storage.database": ""})


def runner_of(database: Database, folder: Path) -> JobRunner:
    return JobRunner("one", database, folder, LazyGenerator(FakeGenerator), lambda state: None, threading.Event())


def test_the_next_image_is_generated_while_one_is_saved(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, waited = threading.Event(), list[bool]()
    commit, draw = History.commit, FakeGenerator._draw

    def slow(self: History, *arguments: Any, **named: Any) -> Any:
        waited.append(second.wait(PATIENCE))
        return commit(self, *arguments, **named)

    def drawn(self: FakeGenerator, single: Any, k: int, *rest: Any) -> Any:
        if k == 2:
            second.set()
        return draw(self, single, k, *rest)

    monkeypatch.setattr(History, "commit", slow)
    monkeypatch.setattr(FakeGenerator, "_draw", drawn)
    queue = JobQueue(database)
    job = queue.submit(make_request(num_images=3))
    runner_of(database, tmp_path).run_next()
    assert waited == [True] * 3
    ended = queue.get(job.id)
    assert ended.state is JobState.DONE and len(ended.image_ids) == 3


def test_with_states_each_image_is_saved_before_the_next_begins(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of an image is removed then: a crash must not cost all of its steps."""
    queue, saved, draw = JobQueue(database), list[int](), FakeGenerator._draw
    plain = make_request(num_images=3)
    job = queue.submit(replace(plain, options={**plain.options, "resume.interval": 1}))

    def drawn(self: FakeGenerator, *arguments: Any) -> Any:
        saved.append(len(queue.get(job.id).image_ids))
        return draw(self, *arguments)

    monkeypatch.setattr(FakeGenerator, "_draw", drawn)
    runner_of(database, tmp_path).run_next()
    assert saved == [0, 1, 2]


@pytest.mark.parametrize("failing", [1, 3])
def test_an_image_that_cannot_be_saved_fails_the_job(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    commit, calls = History.commit, list[int]()

    def full(self: History, *arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == failing:
            raise NotWritableError(path="there")
        return commit(self, *arguments, **named)

    monkeypatch.setattr(History, "commit", full)
    queue = JobQueue(database)
    job = queue.submit(make_request(num_images=3))
    runner_of(database, tmp_path).run_next()
    ended = queue.get(job.id)
    assert ended.state is JobState.FAILED and type(ended.error).__name__ == "NotWritableError"
    assert len(ended.image_ids) == failing - 1


def test_cancelled_while_an_image_is_saved(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image that was made before is kept, the one in its steps is not made."""
    queue = JobQueue(database)
    job = queue.submit(make_request(num_images=4))
    cancelled = threading.Event()
    commit, draw = History.commit, FakeGenerator._draw

    def slow(self: History, image: Any, *rest: Any, **named: Any) -> Any:
        assert image.place == 1 or cancelled.wait(PATIENCE)
        return commit(self, image, *rest, **named)

    def drawn(self: FakeGenerator, single: Any, k: int, *rest: Any) -> Any:
        if k == 3:
            queue.cancel(job.id)
            cancelled.set()
        return draw(self, single, k, *rest)

    monkeypatch.setattr(History, "commit", slow)
    monkeypatch.setattr(FakeGenerator, "_draw", drawn)
    runner_of(database, tmp_path).run_next()
    ended = queue.get(job.id)
    assert ended.state is JobState.CANCELLED and ended.error is None
    history = History(database, tmp_path)
    assert [history.get(image_id).place for image_id in ended.image_ids] == [1, 2]
    assert len(list(tmp_path.glob("20*/*.png"))) == 2


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
def test_a_store_that_is_away_while_an_image_is_saved(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    commit, calls = History.commit, list[int]()

    def away(self: History, *arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) not in (2, 3):
            return commit(self, *arguments, **named)
        if lost:
            commit(self, *arguments, **named)
        raise SharedStorageError(path="s3://there", detail="away")

    monkeypatch.setattr(History, "commit", away)
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.01)
    queue = JobQueue(database)
    job = queue.submit(make_request(num_images=4))
    runner_of(database, tmp_path).run_next()
    ended, history = queue.get(job.id), History(database, tmp_path)
    assert ended.state is JobState.DONE and ended.error is None
    found = history.search(HistoryQuery(descending=False)).records
    assert [record.place for record in found] == [1, 2, 3, 4]
    assert tuple(record.id for record in found) == ended.image_ids
    assert len(list(tmp_path.glob("20*/*.png"))) == 4 and PendingImages(tmp_path).all() == []


def test_a_report_says_whether_the_job_is_to_stop(database: Database) -> None:
    queue = JobQueue(database, "one")
    job = queue.submit(make_request())
    queue.claim("one")
    step = Progress(Phase.STEPS, 1, 4)
    assert queue.report(job.id, step) is False
    queue.cancel(job.id)
    assert queue.report(job.id, step) is True


@pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")
@pytest.mark.by_default("next_while_pending")
@pytest.mark.parametrize("seam", [seam.__name__ for seam in killed_saver.SEAMS])
def test_a_kill_while_an_image_is_saved(database: Database, tmp_path: Path, seam: str) -> None:
    queue = JobQueue(database)
    job = queue.submit(make_request(num_images=4, num_inference_steps=2))
    command = [sys.executable, "-m", "tests.integration.jobs.killed_saver", str(tmp_path), seam]
    killed = subprocess.run(command, cwd=PROJECT_ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    queue.abandon(killed_saver.WORKER, APP_NOT_RUNNING)
    following = runner_of(database, tmp_path)
    following.import_orphans()
    following.run_next()
    history = History(database, tmp_path)
    ended, page = queue.get(job.id), history.search(HistoryQuery(descending=False))
    assert ended.state is JobState.DONE
    assert tuple(record.id for record in page.records) == ended.image_ids, "by time and by job"
    assert [record.place for record in page.records] == [1, 2, 3, 4]
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("20*/*.png")}
    assert files == {record.file for record in page.records}
    assert PendingImages(tmp_path).all() == []
