"""A job that is paused, or whose worker is killed, in the middle of an image continues there, on the real worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.jobs.runner import STATES
from core.types import Job, JobState, Phase
from tests.integration.jobs.harness import Shop, make_request, wait_for, wait_until_gone

REAL = "core.inference.generator:build_generator"
STEPS = 24


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The embedded model in a worker of its own."""
    shop = Shop(tmp_path_factory.mktemp("outputs"), generator=REAL)
    shop.supervisor.start()
    yield shop
    shop.close()


def submit(shop: Shop, **options: object) -> str:
    request = make_request("a red house, day", width=256, height=256, num_inference_steps=STEPS)
    return shop.queue.submit(replace(request, options={**request.options, **options})).id


def pixels(shop: Shop, job: Job) -> np.ndarray:
    (image,) = job.image_ids
    return np.asarray(Image.open(shop.history.file(image)))


def at_step(shop: Shop, job_id: str, step: int) -> None:
    shop.until(job_id, lambda job: bool(job.progress and job.progress.phase is Phase.STEPS and job.progress.step >= step))


def test_paused_and_killed_images_have_the_pixels_of_a_whole_one(real: Shop) -> None:
    whole = pixels(real, real.wait(submit(real), JobState.DONE))
    states = real.directory / STATES

    paused = submit(real)
    at_step(real, paused, 5)
    pid = real.worker_pid()
    real.queue.pause_job(paused, True)
    assert real.wait(paused, JobState.QUEUED).held
    assert list((states / paused).glob("*.safetensors"))
    wait_until_gone(pid)  # and the model's memory with it
    real.queue.pause_job(paused, False)
    done = real.wait(paused, JobState.DONE)
    assert np.array_equal(pixels(real, done), whole)
    assert real.history.get(done.image_ids[0]).effective["resume.resumed_at"][0] >= 5

    killed = submit(real, **{"resume.interval": 2})
    at_step(real, killed, 7)
    os.kill(real.worker_pid(), signal.SIGKILL)
    done = real.wait(killed, JobState.DONE)
    assert np.array_equal(pixels(real, done), whole)
    assert real.history.get(done.image_ids[0]).effective["resume.resumed_at"][0] >= 4
    wait_for(lambda: not list(Path(states).glob("*")))
