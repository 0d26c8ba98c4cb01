"""kill -9 of the app, the worker or both at any moment: no job and no image is lost, and none is made twice."""

import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from PIL import Image
from sqlalchemy import text

from core.config.loader import PROJECT_ROOT
from core.types import GeneratedImage, HistoryQuery, JobState
from tests.integration.jobs.harness import JobHarness, make_request, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals")


class Theatre:
    """An app of its own process over the harness's folder, and someone who kills it."""

    def __init__(self, harness: JobHarness, dice: random.Random) -> None:
        self.harness = harness
        self.dice = dice
        self.app: subprocess.Popen[bytes] | None = None
        self.hits: Counter[str] = Counter()  # what was killed, and how often a job was in work then

    def open(self) -> None:
        """Start the app unless it runs."""
        if self.app is None or self.app.poll() is not None:
            command = [sys.executable, "-m", "tests.integration.jobs.parent", str(self.harness.directory), self.harness.place]
            self.app = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill something: mostly while a job is in work, sometimes while all of it is just starting."""
        if self.dice.random() < 0.85:
            wait_for(lambda: self.harness.queue.busy_workers() or not self.harness.queue.active(1))
        time.sleep(self.dice.uniform(0.0, 0.8))
        victim = self.dice.choice(("app", "worker", "both"))
        pid = self.harness.supervisor.status().pid
        self.hits[victim] += 1
        self.hits["in mid job"] += bool(self.harness.queue.busy_workers())
        if victim != "app" and pid is not None:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        if victim != "worker" and self.app is not None:
            self.app.kill()
            self.app.wait()

    def close(self) -> None:
        """End the app for good, and its worker with it."""
        if self.app is not None:
            self.app.kill()
            self.app.wait()
        wait_for(lambda: self.harness.supervisor.status().state == "stopped")


@pytest.mark.parametrize(("jobs", "kills"), [(4, 2), pytest.param(100, 50, marks=pytest.mark.slow)])
@pytest.mark.timeout(1500)
@pytest.mark.slow
def test_after_any_kills_there_are_exactly_the_images_asked_for(harness: JobHarness, jobs: int, kills: int) -> None:
    dice = random.Random(20_261_122)
    theatre = Theatre(harness, dice)
    asked = {
        harness.submit(num_images=count, seed=1000 * k, fake_step_seconds=0.04): count
        for k, count in enumerate(dice.choices((1, 2, 3), k=jobs), start=1)
    }
    try:
        for _ in range(kills):
            theatre.open()
            theatre.kill()
        theatre.open()
        parked = Counter[str]()
        while active_or_parked(harness, asked, parked):
            time.sleep(0.1)
    finally:
        theatre.close()
    print(dict(theatre.hits), f"parked and retried: {len(parked)}")
    made = [harness.queue.get(job_id) for job_id in asked]
    assert {job.state for job in made} == {JobState.DONE}
    seeds = [[harness.history.get(image).request.seed for image in job.image_ids] for job in made]
    assert seeds == [[1000 * k + n for n in range(count)] for k, count in enumerate(asked.values(), start=1)]
    harness.history.reconcile()
    page = harness.history.search(HistoryQuery(limit=500))
    files = {path.relative_to(harness.directory).as_posix() for path in harness.directory.glob("20*/*.png")}
    assert page.total == sum(asked.values()) == len(files)
    assert {record.file for record in page.records} == files and not any(record.missing for record in page.records)


def active_or_parked(harness: JobHarness, asked: dict[str, int], parked: Counter[str]) -> bool:
    """Whether there is still something to do; a job that was hit three times is retried, as its user would."""
    for job_id in asked:
        if harness.queue.get(job_id).state is JobState.FAILED:
            parked[job_id] += 1
            harness.queue.retry(job_id)
    return bool(harness.queue.active(1))


@pytest.mark.slow
def test_a_killed_batch_goes_on_with_the_images_that_it_lacks_even_where_seeds_are_the_same(harness: JobHarness) -> None:
    own = ({}, {"prompt": "b", "template": "{b|c}"}, {"prompt": "c", "width": 96}, {"seed": 9}, {"prompt": "b"})
    asked = replace(make_request(fake_step_seconds=0.1), num_images=5, images=own)
    job_id = harness.queue.submit(asked).id
    harness.supervisor.start()
    kept = harness.until(job_id, lambda job: len(job.image_ids) == 2).image_ids
    psutil.Process(harness.worker_pid()).kill()
    job = harness.wait(job_id)
    assert job.state is JobState.DONE and job.crashes == 1 and job.image_ids[:2] == kept
    records = [harness.history.get(image_id) for image_id in job.image_ids]
    assert [record.request for record in records] == list(asked.per_image_requests())
    assert [record.place for record in records] == [1, 2, 3, 4, 5]
    assert len(list(harness.directory.glob("20*/*.png"))) == 5


@pytest.mark.slow
def test_what_waits_keeps_its_order_over_a_kill_of_both(harness: JobHarness) -> None:
    theatre = Theatre(harness, random.Random(1))
    ids = [harness.submit(fake_step_seconds=0.3) for _ in range(4)]
    try:
        theatre.open()
        harness.until(ids[0], lambda job: job.state is JobState.RUNNING)
        psutil.Process(harness.supervisor.status().pid).kill()
    finally:
        theatre.close()
    harness.supervisor.start()
    jobs = [harness.wait(job_id) for job_id in ids]
    assert [job.started_at for job in jobs] == sorted(job.started_at for job in jobs if job.started_at)
    assert all(len(job.image_ids) == 1 for job in jobs)


def test_a_image_whose_row_a_kill_prevented_is_not_made_again(harness: JobHarness) -> None:
    job_id = harness.submit(num_images=2, seed=50)
    assert harness.queue.claim("a worker of yesterday")
    made = GeneratedImage(Image.new("RGB", (64, 64)), make_request(seed=50), (64, 64), {"steps": 1.0}, {})
    kept = harness.history.add(made, job_id)
    with harness.database.writing() as connection:
        connection.execute(text("delete from images"))
    harness.supervisor.start()
    job = harness.wait(job_id)
    assert job.state is JobState.DONE and len(job.image_ids) == 2 and job.image_ids[0] == kept.id
    assert len(list(harness.directory.glob("20*/*.png"))) == 2
