"""A database server that restarts, and an object store that is away: no job fails, no image is lost or stored twice."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.errors import SharedStorageError
from core.history.store import PendingImages
from core.types import HistoryQuery, JobState
from tests import object_store, postgres
from tests.integration.jobs.harness import JobHarness, wait_for
from tests.integration.jobs.switched_proxy import SwitchedProxy
from tests.integration.jobs.test_full_disk import fill


def check_all_done(harness: JobHarness, jobs: list[str], images: int) -> None:
    """All jobs are done, each image is there once."""
    for job_id in jobs:
        job = harness.wait(job_id)
        assert (job.state, job.error) == (JobState.DONE, None)
        assert [harness.history.get(image).place for image in job.image_ids] == list(range(1, images + 1))
    page = harness.history.search(HistoryQuery(limit=100))
    assert page.total == images * len(jobs) and not any(record.missing for record in page.records)
    names = [entry.name for folder in harness.store.folders() for entry in harness.store.entries(folder)]
    assert len([name for name in names if name.startswith("20") and name.endswith(".png")]) == page.total
    assert PendingImages(harness.directory).all() == []


@pytest.fixture
def server() -> Iterator[postgres.Server]:
    """A server of its own: it is stopped and started again."""
    with postgres.running() as running:
        yield running


@pytest.mark.timeout(1500)
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2, 20, 300])
def test_database_restart(server: postgres.Server, tmp_path: Path, seconds: int) -> None:
    harness = JobHarness(tmp_path, place=server.url(server.create()))
    harness.supervisor.start()
    try:
        pid = harness.worker_pid()
        jobs = [harness.submit(f"house {k}", num_images=3, fake_step_seconds=0.1) for k in range(3)]
        for made in (1, 2):  # in the middle of two jobs
            harness.until(jobs[made - 1], lambda job: len(job.image_ids) >= 1)
            server.stop()
            time.sleep(seconds)
            server.start()
        check_all_done(harness, jobs, 3)
        assert harness.worker_pid() == pid and sum(harness.queue.get(job_id).crashes for job_id in jobs) == 0
    finally:
        harness.close()


@pytest.mark.slow
def test_database_at_another_address(server: postgres.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address goes in the middle of a job; the second one answers from then on."""
    monkeypatch.setenv("PGPASSWORD", postgres.PASSWORD)
    first, second = (SwitchedProxy("127.0.0.1", server.port, mode) for mode in ("on", "off"))
    hosts = f"host=127.0.0.1,127.0.0.1&port={first.port},{second.port}"
    harness = JobHarness(tmp_path, place=f"postgresql://studio@/{server.create()}?{hosts}")
    harness.supervisor.start()
    try:
        jobs = [harness.submit(f"house {k}", num_images=3, fake_step_seconds=0.1) for k in range(3)]
        harness.until(jobs[0], lambda job: len(job.image_ids) >= 1)
        first.switch("off")
        second.switch("on")
        check_all_done(harness, jobs, 3)
    finally:
        harness.close()
        first.close()
        second.close()


@pytest.mark.slow
def test_full_disk_of_the_database_server(server: postgres.Server, tmp_path: Path) -> None:
    place = server.socket / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    shutil.chown(place, server.socket.owner())
    server.say(f"CREATE TABLESPACE small LOCATION '{place}'")
    server.say("CREATE DATABASE crowded TEMPLATE template0 TABLESPACE small")
    harness = JobHarness(tmp_path, place=server.url("crowded"))
    harness.supervisor.start()
    try:
        jobs = [harness.submit(f"house {k}", num_images=20, fake_step_seconds=0.01) for k in range(2)]
        harness.until(jobs[0], lambda job: len(job.image_ids) >= 1)
        fill(place / "filler")
        wait_for(lambda: PendingImages(tmp_path).all())
        (place / "filler").unlink()
        check_all_done(harness, jobs, 20)
    finally:
        harness.close()
        server.stop()
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[SwitchedProxy]:
    """The switch of the way to an object store, whose address is in the environment."""
    with object_store.running() as address:
        parts = urlsplit(address)
        proxy = SwitchedProxy(str(parts.hostname), int(parts.port or 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        yield proxy
        proxy.close()


def begin(tmp_path: Path) -> tuple[JobHarness, list[str]]:
    """Three jobs of three images each; the first has its first image."""
    harness = JobHarness(tmp_path, storage=f"s3://{object_store.BUCKET}/{tmp_path.name}")
    harness.supervisor.start()
    jobs = [harness.submit(f"house {k}", num_images=3, fake_step_seconds=0.05) for k in range(3)]
    harness.until(jobs[0], lambda job: len(job.image_ids) >= 1)
    return harness, jobs


@pytest.mark.parametrize(
    "mode", ["off", pytest.param("503", marks=pytest.mark.slow), pytest.param("hang", marks=pytest.mark.slow)]
)
def test_store_away_keeps_jobs_waiting(store: SwitchedProxy, tmp_path: Path, mode: str) -> None:
    harness, jobs = begin(tmp_path)
    try:
        store.switch(mode)
        waiting = harness.until(jobs[0], lambda job: isinstance(job.error, SharedStorageError))
        assert waiting.state is JobState.RUNNING
        wait_for(lambda: len(PendingImages(tmp_path).all(jobs[0])) == 2)
        assert [harness.queue.get(job_id).state for job_id in jobs[1:]] == [JobState.QUEUED] * 2
        store.switch("on")
        check_all_done(harness, jobs, 3)
    finally:
        harness.close()


@pytest.mark.slow
def test_a_slow_store_delays_jobs(store: SwitchedProxy, tmp_path: Path) -> None:
    harness, jobs = begin(tmp_path)
    try:
        store.switch("slow")
        for job_id in jobs:
            harness.wait(job_id)
        store.switch("on")
        check_all_done(harness, jobs, 3)
    finally:
        harness.close()


@pytest.mark.slow
def test_pending_images_survive_a_restart(store: SwitchedProxy, tmp_path: Path) -> None:
    harness, jobs = begin(tmp_path)
    try:
        store.switch("off")
        wait_for(lambda: len(PendingImages(tmp_path).all(jobs[0])) == 2)
        kept = {image.id for image in PendingImages(tmp_path).all()}
        harness.supervisor.stop()
        store.switch("on")
        harness.supervisor.start()
        harness.wait(jobs[0])
        assert kept <= set(harness.queue.get(jobs[0]).image_ids)
        check_all_done(harness, jobs, 3)
    finally:
        harness.close()


@pytest.mark.slow
def test_cancelled_while_the_store_is_away(store: SwitchedProxy, tmp_path: Path) -> None:
    harness, jobs = begin(tmp_path)
    try:
        store.switch("off")
        wait_for(lambda: len(PendingImages(tmp_path).all(jobs[0])) == 2)
        harness.queue.cancel(jobs[0])
        assert harness.wait(jobs[0]).state is JobState.CANCELLED
    finally:
        harness.close()
