"""The embedded model on several workers: each image of a job is, bit for bit, the one that a worker alone makes."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from core.config.options import SCHEMA
from core.jobs.generator_protocol import DEFAULT_GENERATOR
from core.types import GenerationRequest, JobState
from tests.integration.jobs.harness import JobHarness, wait_for


def generated(folder: Path, request: GenerationRequest, **values: object) -> list[str]:
    """A digest of each image's pixels, in order."""
    harness = JobHarness(folder, DEFAULT_GENERATOR, **values)
    try:
        harness.supervisor.start()
        workers = values.get("worker.ray_workers", 0)
        wait_for(lambda: [w.state for w in harness.supervisor.status().workers] == ["idle"] * workers)
        job = harness.wait(harness.queue.submit(request).id)
        assert job.state is JobState.DONE, job.error
        images = [Image.open(harness.history.file(image)).convert("RGB") for image in job.image_ids]
        return [hashlib.sha256(generated.tobytes()).hexdigest() for generated in images]
    finally:
        harness.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_image_of_a_spread_job_has_the_pixels_that_one_worker_makes(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # on the CPU rounding depends on the number of threads
    options = {option.key: option.default for option in SCHEMA.request_options()}
    own = ({}, {"prompt": "a blue car, desert"}, {"seed": 99}, {"width": 160}, {"prompt": "夜晚，雪地，黄色的灯塔"}, {})
    sizes = {"width": 128, "height": 128, "num_inference_steps": 3}
    request = GenerationRequest("a red house, day", seed=7, num_images=6, options=options, images=own, **sizes)
    alone = generated(tmp_path / "local", request)
    spread = generated(tmp_path / "ray", request, **{"worker.executor": "ray", "worker.ray_workers": 2})
    assert spread == alone and len(set(alone)) == 5
