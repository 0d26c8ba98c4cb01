"""Kills at random instants of pausing and resuming, of processes that have the embedded model already."""

from __future__ import annotations

import multiprocessing
import random
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from core.config.loader import PROJECT_ROOT
from core.errors import JobStateError
from core.inference.generator import Generator, build_generator
from core.jobs.generator_protocol import PREDECESSOR_GONE, LazyGenerator
from core.jobs.runner import JobRunner
from core.jobs.worker_process import open_database
from core.types import JobState
from tests.integration.jobs.harness import JobHarness, make_request, make_settings

KILLS = 100  # of a job at most two: while it is paused or runs, and while it resumes
STEPS = 12


def run_one(generator: Generator, directory: Path) -> None:
    """Run the next job, as the process that is killed: with connections of its own, in one thread."""
    import torch

    torch.set_num_threads(1)
    database = open_database(directory, make_settings(directory).values)
    JobRunner("w", database, directory, LazyGenerator(lambda: generator), lambda state: None, Event()).run_next()
    database.close()


@pytest.mark.slow
def test_a_hundred_kills_cost_no_pixel(tmp_path: Path) -> None:
    generator, dice, shop = build_generator(PROJECT_ROOT / "configs"), random.Random(21), JobHarness(tmp_path)
    fork = multiprocessing.get_context("fork")
    request = make_request("a red house, day", num_inference_steps=STEPS)
    request = replace(request, options={**request.options, "resume.interval": 1})
    generator.load(request.model, request.options, lambda progress: None)

    def begin() -> multiprocessing.process.BaseProcess:
        child = fork.Process(target=run_one, args=(generator, tmp_path))
        child.start()
        return child

    def whole() -> tuple[np.ndarray, float]:
        job, began = shop.queue.submit(request).id, time.monotonic()
        begin().join()
        done = shop.queue.get(job)
        assert done.state is JobState.DONE, done.error
        return np.asarray(Image.open(shop.history.file(done.image_ids[0]))), time.monotonic() - began

    expected, seconds = whole()
    killed, resumed = 0, 0
    while killed < KILLS:
        job = shop.queue.submit(request).id
        for attempt in range(2):
            child = begin()
            time.sleep(dice.uniform(0.0, 0.8 * seconds))
            if attempt == 0 and dice.random() < 0.5:
                with suppress(JobStateError):  # it has ended
                    shop.queue.pause_job(job, True)
                time.sleep(dice.uniform(0.0, 0.05))
            child.kill()
            child.join()
            killed += child.exitcode == -9
            shop.queue.abandon("w", PREDECESSOR_GONE)
            if shop.queue.get(job).state.active:
                shop.queue.pause_job(job, False)
        if shop.queue.get(job).state.active:
            begin().join()
        done = shop.queue.get(job)
        assert done.state is JobState.DONE and len(done.image_ids) == 1, done.error
        assert np.array_equal(np.asarray(Image.open(shop.history.file(done.image_ids[0]))), expected)
        resumed += "resume.resumed_at" in shop.history.get(done.image_ids[0]).effective
    shop.database.close()
    assert resumed >= KILLS // 10, "many of them continued in the middle of their image"
