"""Hundreds of images through the real app: memory, file handles and threads of app and worker stay where they were."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from core.types import JobState
from tests.browser.chromium import running_app

BATCH = 10  # images of a job
ORDER = {"model": "demo", "width": 64, "height": 64, "num_inference_steps": 2, "output.format": "webp"}
PATIENCE = 600  # seconds for one job, on a machine that has other work
POOLED = 10  # handles: five connections to the database may open as late as they like; a leak by the job is far more
SPARE = 4  # threads in which the server answers; they come and go
LAST = 5  # samples whose median is held against the median of as many after the warm-up

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="counts POSIX file descriptors")]


@dataclass(frozen=True)
class Sample:
    """A process at rest between two jobs."""

    memory: int  # resident, bytes
    handles: int
    threads: int


def sample(process: psutil.Process) -> Sample:
    with process.oneshot():
        return Sample(process.memory_info().rss, process.num_fds(), process.num_threads())


@pytest.fixture
def http(tmp_path: Path) -> Iterator[httpx.Client]:
    """The app as its users start it, asked as a program asks it."""
    with running_app(tmp_path) as address, httpx.Client(base_url=f"{address}/api/v1", timeout=60) as client:
        yield client


def generate(http: httpx.Client, number: int) -> list[str]:
    """One job of BATCH images, in turns a batch with wildcards and sizes, and one prompt with many seeds; the ids.

    It is watched as a page watches it, previews and thumbnails too.
    """
    order = {**ORDER, "seed": 1000 * number}
    if number % 2:
        rows = [{"prompt": "a __color__ __thing__ at {dawn|night}", "width": 64 + 16 * (k % 2)} for k in range(BATCH)]
        answer = http.post("/jobs", json={**order, "prompts": rows})
    else:
        answer = http.post("/jobs", json={**order, "prompt": "红色的房子，日落", "num_images": BATCH})
    job = answer.raise_for_status().json()
    until = time.monotonic() + PATIENCE
    while job["finished_at"] is None:
        assert time.monotonic() < until, job
        time.sleep(0.2)
        http.get(f"/jobs/{job['id']}/preview")
        job = http.get(f"/jobs/{job['id']}").json()
    assert job["state"] == JobState.DONE, job["error"]
    for image in job["images"][:2]:
        assert http.get(f"/thumbnails/{image['id']}").status_code == 200
    return [image["id"] for image in job["images"]]


def processes(http: httpx.Client) -> dict[str, psutil.Process]:
    """The app, which this test started, and the worker, which the app started."""
    port = http.base_url.port
    app = next(
        child
        for child in psutil.Process().children(recursive=True)
        if any(
            found.laddr.port == port and found.status == psutil.CONN_LISTEN for found in child.net_connections("tcp")
        )
    )
    worker = next(child for child in app.children() if "core.jobs.worker" in child.cmdline())
    return {"app": app, "worker": worker}


@pytest.mark.parametrize(("images", "warm", "growth"), [(30, 20, 0.05), (500, 50, 0.02)])
@pytest.mark.timeout(7200)
def test_images_by_the_hundred_leave_nothing_behind(http: httpx.Client, images: int, warm: int, growth: float) -> None:
    made: list[str] = []
    samples: dict[str, list[Sample]] = {"app": [], "worker": []}
    for number in range(images // BATCH):
        made += generate(http, number)
        if len(made) >= warm:
            for name, process in processes(http).items():
                samples[name].append(sample(process))
    assert len(set(made)) == images
    for name, found in samples.items():
        some = min(LAST, (len(found) + 1) // 2)
        before, after = (statistics.median(one.memory for one in part) for part in (found[:some], found[-some:]))
        print(f"{name}: {before / 2**20:.1f} MB after {warm} images, {after / 2**20:.1f} MB after {images} "
              f"({after / before - 1:+.2%}), {found[0]} -> {found[-1]}")  # fmt: skip
        assert after <= before * (1 + growth), f"the {name} has grown"
        assert found[-1].handles <= found[0].handles + POOLED, f"the {name} holds more files"
        assert found[-1].threads <= found[0].threads + SPARE, f"the {name} has more threads"
