"""Workers on Ray, a database on a server and images in an object store: none knows of the others, and they go together."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from core.storage.input_images import InputImages
from core.types import HistoryQuery, JobState
from tests.integration.jobs.harness import JobHarness, wait_for
from tests.integration.jobs.test_inputs import png

pytestmark = [  # test_on_ray and test_two_apps show each half by default
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills with POSIX signals"),
]


@pytest.fixture(params=["server", "object store", "server and object store"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobHarness]:
    """Two workers on Ray over what the name says."""
    place, storage = "", ""
    if "server" in request.param:
        server = request.getfixturevalue("postgres")
        place = server.url(server.create())
    if "object store" in request.param:
        storage = f"{request.getfixturevalue('object_store')}/{tmp_path.name}"
    harness = JobHarness(tmp_path, place=place, storage=storage, **{"worker.executor": "ray", "worker.ray_workers": 2})
    harness.supervisor.start()
    wait_for(lambda: [worker.state for worker in harness.supervisor.status().workers] == ["idle"] * 2)
    yield harness
    harness.close()


def test_a_job_is_spread_survives_a_worker_and_its_images_are_where_they_belong(two: JobHarness) -> None:
    sketch = InputImages(two.store).keep(png((200, 0, 0)))
    job_id = two.submit(num_images=6, fake_step_seconds=0.1, inputs={"image": sketch})
    two.until(job_id, lambda job: len(job.image_ids) == 2)
    victim = wait_for(lambda: next((w for w in two.supervisor.status().workers if w.job == job_id), None))
    os.kill(victim.pid, signal.SIGKILL)
    job = two.wait(job_id)
    assert job.state is JobState.DONE and job.error is None and job.crashes == 1
    records = [two.history.get(image) for image in job.image_ids]
    assert [(record.place, record.request.seed) for record in records] == [(k, 6 + k) for k in range(1, 7)]
    page = two.history.search(HistoryQuery(text="红色的房子"))
    assert page.total == 6 and not any(record.missing for record in page.records)
    names = {entry.name for folder in two.store.folders() for entry in two.store.entries(folder)}
    assert {record.file for record in records} <= names and any(sketch in name for name in names)
    assert len([name for name in names if name.endswith(".png") and name.startswith("20")]) == 6
    for record in records:
        with Image.open(two.history.file(record.id)) as image:
            assert image.size == (64, 64)
