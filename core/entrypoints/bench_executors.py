"""`bench --executor ray --workers N`: several workers on Ray against the local worker, each on one core and one thread.

Both are studios as an app has them, each over a passing folder: pictures go through queue, worker, file and row. First the
spread: a job of several pictures, taking turns. Then the overhead: jobs of one small picture. The pixels are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from core.bootstrap import build_studio
from core.config.layers import load_settings
from core.entrypoints.terminal import DONE, FAILED, SOURCE, whole_number
from core.errors import OptionError
from core.studio import Studio
from core.types import Job

PROMPT = "a red house at sunset, snowy mountains"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
EACH = 8  # pictures of a job, for each worker
SMALL = {"generation.num_inference_steps": 1, "generation.width": 64, "generation.height": 64}
SMALL_JOBS = 15  # in each turn
LOOK_SECONDS = 0.002
PATIENCE = 300.0  # seconds for the workers to come up


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print the figures and, last, one line of JSON. Exit code 1 when a pixel differs or a job fails."""
    runs = whole_number("--runs", arguments.runs, 1, 1000)
    workers = whole_number("--workers", arguments.workers, 1, 256)
    if arguments.executor != "ray":
        raise OptionError(source=SOURCE, key="--executor", came=arguments.executor, allowed="ray")
    os.environ |= dict.fromkeys(THREADS, "1")  # of this process too: what it starts inherits them
    with ExitStack() as stack:
        sides = {
            "local": stack.enter_context(_studio(configs, {})),
            "ray": stack.enter_context(_studio(configs, {"worker.executor": "ray", "worker.ray_workers": workers})),
        }
        _wait_for_workers(sides["ray"], workers)
        for studio in sides.values():  # every worker loads its model
            _draw(studio, arguments.model, 2 * workers, {})
        report = {"workers": workers, "cores": os.cpu_count(), "load": [round(value, 1) for value in os.getloadavg()]}
        report |= _spread(sides, arguments.model, EACH * workers, runs)
        report |= _overhead(sides, arguments.model, runs)
        report["load_after"] = [round(value, 1) for value in os.getloadavg()]
    print(_text(report))
    print(json.dumps(report))
    return DONE if report["identical"] else FAILED


@contextmanager
def _studio(configs: Path, values: Mapping[str, Any]) -> Iterator[Studio]:
    """A studio that runs, over a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = {"output.directory": folder, "model.preload": True, **values}
        studio = build_studio(load_settings(configs, overrides=overrides))
        studio.start()
        try:
            yield studio
        finally:
            studio.stop()


def _wait_for_workers(studio: Studio, workers: int) -> None:
    end = time.monotonic() + PATIENCE
    while [worker.state for worker in studio.worker().workers].count("idle") < workers:
        trouble = studio.worker().trouble
        if trouble is not None:
            raise trouble
        if time.monotonic() > end:
            raise TimeoutError(f"{workers} workers did not come up in {PATIENCE:g} s")
        time.sleep(0.1)


def _draw(studio: Studio, model: str, pictures: int, values: Mapping[str, Any], seed: int = 1) -> tuple[Job, float]:
    """A job that has ended, and the seconds from its submission to the sight of its end."""
    asked = {"model.id": model, "generation.prompt": PROMPT, "generation.seed": seed, "generation.num_images": pictures}
    began = time.perf_counter()
    job = studio.submit(studio.new_request({**asked, **values}))
    while job.state.active:
        time.sleep(LOOK_SECONDS)
        job = studio.job(job.id)
    if job.error is not None:
        raise job.error
    return job, time.perf_counter() - began


def _spread(sides: Mapping[str, Studio], model: str, pictures: int, runs: int) -> dict[str, Any]:
    """Seconds of one job of so many pictures on each side, taking turns, and whether the pixels are the same."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    same = True
    for turn in range(runs):
        drawn = {}
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            job, took = _draw(sides[name], model, pictures, {}, seed=1000 * turn + 1)
            seconds[name].append(round(took, 3))
            drawn[name] = [_pixels(sides[name], image_id) for image_id in job.image_ids]
        same = same and drawn["local"] == drawn["ray"]
    ratios = [round(local / ray, 3) for local, ray in zip(seconds["local"], seconds["ray"], strict=True)]
    return {"pictures": pictures, "seconds": seconds, "times_as_fast": ratios,
            "times_as_fast_median": round(statistics.median(ratios), 3), "identical": same}  # fmt: skip


def _pixels(studio: Studio, image_id: str) -> bytes:
    with Image.open(studio.image_file(image_id)) as image:
        return image.convert("RGB").tobytes()


def _overhead(sides: Mapping[str, Studio], model: str, runs: int) -> dict[str, Any]:
    """Milliseconds that a job of one small picture takes on each side."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(runs * SMALL_JOBS):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            took[name].append(1000 * _draw(sides[name], model, 1, SMALL, seed=turn)[1])
    medians = {name: round(statistics.median(times), 1) for name, times in took.items()}
    return {"small_job_ms": medians, "overhead_ms": round(medians["ray"] - medians["local"], 1)}


def _text(report: Mapping[str, Any]) -> str:
    local, ray = (statistics.median(report["seconds"][name]) for name in ("local", "ray"))
    return "\n".join(
        (
            f"{report['cores']} cores, load average {report['load'][0]} before and {report['load_after'][0]} after",
            f"a job of {report['pictures']} pictures: local {local:.2f} s, {report['workers']} workers on Ray {ray:.2f} s, "
            f"{report['times_as_fast_median']:.2f} times as fast (each turn: {report['times_as_fast']})",
            f"pixels: {'the same' if report['identical'] else 'DIFFERENT'}",
            f"a job of one small picture: local {report['small_job_ms']['local']} ms, Ray {report['small_job_ms']['ray']} ms, "
            f"difference {report['overhead_ms']:+.1f} ms",
        )
    )
