"""A job that is paused, or whose worker is killed, in the middle of an image continues there, with the real model."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from core.config.loader import PROJECT_ROOT
from core.inference.generator import build_generator
from core.jobs.generator_protocol import LazyGenerator
from core.jobs.runner import STATES, JobRunner
from core.types import Job, JobState, Phase
from tests.integration.jobs.harness import JobHarness, make_request, wait_for, wait_until_gone

REAL = "core.inference.generator:build_generator"
STEPS = 24


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobHarness]:
    """The embedded model in a worker of its own."""
    harness = JobHarness(tmp_path_factory.mktemp("outputs"), generator=REAL)
    harness.supervisor.start()
    yield harness
    harness.close()


def submit(harness: JobHarness, side: int = 256, steps: int = STEPS, **options: object) -> str:
    request = make_request("a red house, day", width=side, height=side, num_inference_steps=steps)
    return harness.queue.submit(replace(request, options={**request.options, **options})).id


def pixels(harness: JobHarness, job: Job) -> np.ndarray:
    (image,) = job.image_ids
    return np.asarray(Image.open(harness.history.file(image)))


def at_step(harness: JobHarness, job_id: str, step: int) -> None:
    harness.until(job_id, lambda job: bool(job.progress and job.progress.phase is Phase.STEPS and job.progress.step >= step))


def test_a_paused_image_has_the_pixels_of_a_whole_one(harness: JobHarness) -> None:
    """In one process, without a worker that has to start: the runner, the queue, the store and the generator."""
    generator = build_generator(PROJECT_ROOT / "configs")
    asked: list[str] = []

    def pause(state: str) -> None:
        """Once the fourth step has been told of."""
        progress = harness.queue.get(asked[-1]).progress
        if len(asked) == 2 and progress and progress.phase is Phase.STEPS and progress.step == 4:
            harness.queue.pause_job(asked[-1], True)

    def run() -> Job:
        runner = JobRunner("w", harness.database, harness.directory, LazyGenerator(lambda: generator), pause, Event())
        runner.run_next()
        return harness.queue.get(asked[-1])

    asked.append(submit(harness, 64, 8))
    whole = pixels(harness, run())
    asked.append(submit(harness, 64, 8))
    held = run()
    assert held.held and held.state is JobState.QUEUED
    assert list((harness.directory / STATES / held.id).glob("*.safetensors"))
    harness.queue.pause_job(held.id, False)
    asked.append(held.id)
    done = run()
    assert done.state is JobState.DONE and np.array_equal(pixels(harness, done), whole)
    assert harness.history.get(done.image_ids[0]).effective["resume.resumed_at"][0] >= 4


@pytest.mark.slow
def test_paused_and_killed_images_have_the_pixels_of_a_whole_one(real: JobHarness) -> None:
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
