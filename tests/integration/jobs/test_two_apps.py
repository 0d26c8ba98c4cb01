"""Two apps, each with an output folder and a worker of its own, over one database and one storage; and what is killed of them."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select, update

from core.config.loader import PROJECT_ROOT
from core.jobs import worker_registry as registry_module
from core.jobs.generator_protocol import MACHINE_GONE
from core.jobs.worker_process import is_alive
from core.jobs.worker_registry import WorkerRegistry, requeue_abandoned, requeue_lost
from core.storage.database import moment, now, timestamp
from core.storage.tables import jobs, workers
from core.types import HistoryQuery, JobState, WorkerStatus
from tests.integration.jobs.harness import JobHarness, wait_for
from tests.integration.jobs.test_kills import active_or_parked
from tests.postgres import Server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")


class App:
    """One of the apps, in a process of its own."""

    def __init__(self, folder: Path, place: str, storage: str) -> None:
        self.arguments = [str(folder), place, storage]
        self.process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Start it unless it runs."""
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-m", "tests.integration.jobs.parent", *self.arguments]
            self.process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def worker_pids(harness: JobHarness) -> list[int]:
    with harness.database.reading() as connection:
        rows = connection.execute(select(workers)).all()
    return [row.pid for row in rows if is_alive(row.pid, row.status["process_started"])]


def at_work(harness: JobHarness) -> set[str]:
    """The workers that live and have a job in work."""
    return harness.queue.busy_workers() & WorkerRegistry(harness.database).living()


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a storage that both apps reach."""
    if request.param == "mounted folder":
        return f"file://{tmp_path}/shared"
    return f"{request.getfixturevalue('object_store')}/{tmp_path.name}"


def stored(harness: JobHarness) -> set[str]:
    """The names of the images in the storage."""
    files = harness.store
    return {entry.name for folder in files.folders() if folder.startswith("20") for entry in files.entries(folder)
            if entry.name.endswith(".png")}  # fmt: skip


@pytest.mark.parametrize(
    ("storage", "count", "kills"),
    [
        pytest.param("mounted folder", 6, 3, marks=pytest.mark.slow),  # one app by default: test_kills
        pytest.param("object store", 8, 4, marks=pytest.mark.slow),
        pytest.param("mounted folder", 80, 50, marks=pytest.mark.slow),
    ],
    indirect=["storage"],
)
@pytest.mark.timeout(1500)
def test_after_any_kills_there_are_exactly_the_images_asked_for(
    postgres: Server, storage: str, tmp_path: Path, count: int, kills: int
) -> None:
    dice = random.Random(20_261_125)
    place = postgres.url(postgres.create())
    harness = JobHarness(tmp_path / "looks", place=place, storage=storage)
    apps = [App(tmp_path / name, place, storage) for name in "ab"]
    asked = {
        harness.submit(num_images=images, seed=1000 * k, fake_step_seconds=0.04): images
        for k, images in enumerate(dice.choices((1, 2, 3), k=count), start=1)
    }
    hits, parked = Counter[str](), Counter[str]()
    makers: set[str] = set()
    try:
        for _ in range(kills):
            for app in apps:
                app.open()
            wait_for(lambda: at_work(harness) or not harness.queue.active(1))
            time.sleep(dice.uniform(0.0, 0.8))
            makers |= at_work(harness)
            victim = dice.choice(("app", "worker", "all"))
            hits[victim] += 1
            hits["in mid job"] += bool(at_work(harness))
            if victim != "app":
                for pid in worker_pids(harness)[: None if victim == "all" else 1]:
                    with suppress(psutil.NoSuchProcess):
                        psutil.Process(pid).kill()
            if victim != "worker":
                for app in apps if victim == "all" else [dice.choice(apps)]:
                    app.kill()
        for app in apps:
            app.open()
        while active_or_parked(harness, asked, parked):
            makers |= at_work(harness)
            time.sleep(0.05)
    finally:
        for app in apps:
            app.kill()
        wait_for(lambda: not worker_pids(harness))
    print(dict(hits), f"workers that drew: {len(makers)}, parked and retried: {len(parked)}")
    made = [harness.queue.get(job_id) for job_id in asked]
    assert {job.state for job in made} == {JobState.DONE}
    seeds = [[harness.history.get(image).request.seed for image in job.image_ids] for job in made]
    assert seeds == [[1000 * k + n for n in range(images)] for k, images in enumerate(asked.values(), start=1)]
    harness.history.reconcile()
    page = harness.history.search(HistoryQuery(limit=500))
    files = stored(harness)
    assert page.total == sum(asked.values()) == len(files)
    assert {record.file for record in page.records} == files and not any(record.missing for record in page.records)
    assert len(makers) >= 2
    harness.close()


@pytest.mark.parametrize("storage", ["mounted folder", "object store"], indirect=True)
@pytest.mark.slow
def test_both_draw_at_once_and_the_first_that_came_begins_first(postgres: Server, storage: str, tmp_path: Path) -> None:
    place = postgres.url(postgres.create())
    harness = JobHarness(tmp_path / "looks", place=place, storage=storage)
    apps = [App(tmp_path / name, place, storage) for name in "ab"]
    ids = [harness.submit(seed=k, fake_step_seconds=0.2) for k in range(6)]
    try:
        for app in apps:
            app.open()
        wait_for(lambda: len(harness.queue.busy_workers()) == 2)
        ended = [harness.wait(job_id) for job_id in ids]
    finally:
        for app in apps:
            app.kill()
    began = [job.started_at for job in ended if job.started_at]
    assert began == sorted(began) and all(len(job.image_ids) == 1 and job.crashes == 0 for job in ended)
    harness.close()


def test_the_jobs_of_a_machine_that_is_gone_are_taken_over_and_those_of_one_that_lives_are_not(
    harness: JobHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, job_id = WorkerRegistry(harness.database), harness.submit()
    with monkeypatch.context() as there:
        there.setattr(registry_module.socket, "gethostname", lambda: "another machine")
        registry.write("far", WorkerStatus("busy", 1), 0)
    with harness.database.writing() as connection:  # no process of this machine has its pid
        connection.execute(update(workers).values(pid=2**22 + 1))
    harness.queue.claim("far")
    requeue_abandoned(harness.queue, registry, MACHINE_GONE)
    assert requeue_lost(harness.queue, registry, MACHINE_GONE) == 0 and registry.latest().state == "busy"
    assert harness.queue.get(job_id).state is JobState.LOADING
    with harness.database.writing() as connection:
        present = moment(now())
        assert present is not None
        long_ago = timestamp(present - timedelta(seconds=registry_module.AWAY_SECONDS + 1))
        connection.execute(update(workers).values(updated_at=long_ago))
    assert requeue_lost(harness.queue, registry, MACHINE_GONE) == 1 and registry.known() == set()
    job = harness.queue.get(job_id)
    assert job.state is JobState.QUEUED and job.crashes == 1 and "its machine" in str(job.error)
    with harness.database.reading() as connection:
        assert connection.scalar(select(jobs.c.worker)) is None
