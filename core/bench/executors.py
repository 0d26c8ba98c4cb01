"""Compare workers on Ray with the local worker, each on one core and one thread: `bench --executor ray --workers N`.

Both are studios as an app has them, each over a passing folder: images go through queue, worker, file and row. First the
spread: the same job of several images, taking turns; they are as large as the model was trained for, because several
workers are for work that takes its time. Then the overhead: jobs of one small image. Both sides have run such jobs before
any is timed, and the pixels are compared. Beside the clock stands what the processor did meanwhile, by process, and how much
of it other programs took: a figure of a machine that had other work says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from core.cli.console import DONE, FAILED, SOURCE, whole_number
from core.config.loader import load_settings
from core.errors import OptionError
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.types import Job

PROMPT = "a red house at sunset, snowy mountains"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
EACH = 8  # images of a job, for each worker: that one of them generates the last one alone matters little, then
SMALL = {"generation.num_inference_steps": 1, "generation.width": 64, "generation.height": 64}
SMALL_JOBS = 15  # in each turn
LOOK_SECONDS = 0.05  # at a job that takes seconds
UNSEEN = 0.8  # of the time that the fastest job of its kind took: nothing polls meanwhile, because polling takes processor time
NEAR_LOOK_SECONDS = 0.002  # at one that takes a tenth of one
PATIENCE = 300.0  # seconds for the workers to come up
QUIET = 0.03  # of the cores may go to other programs before the figures are called doubtful
DRAWING, SERVING, AT_REST = "workers", "dispatcher", "the other side, at rest"


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print the figures and, last, one line of JSON. Exit code 1 when a pixel differs or a job fails."""
    runs = whole_number("--runs", arguments.runs, 1, 1000)
    workers = whole_number("--workers", arguments.workers, 1, 256)
    if arguments.executor != "ray":
        raise OptionError(source=SOURCE, key="--executor", value=arguments.executor, allowed="ray")
    os.environ |= dict.fromkeys(THREADS, "1")  # of this process too: what it starts inherits them
    with ExitStack() as stack:
        sides = {
            "local": stack.enter_context(running_studio(configs, {})),
            "ray": stack.enter_context(running_studio(configs, {"worker.executor": "ray", "worker.ray_workers": workers})),
        }
        _wait_for_workers(sides["ray"], workers)
        model = sides["local"].catalog.find(arguments.model)
        side = whole_number("--side", arguments.side or str(model.trained_side), 64, model.max_side)
        steps = whole_number("--steps", arguments.steps or str(model.default_steps), 1, 200)
        large = {"generation.width": side, "generation.height": side, "generation.num_inference_steps": steps}
        for studio in sides.values():  # every worker loads its model, and has generated both kinds of images
            _draw(studio, model.id, 2 * workers, large)
            _draw(studio, model.id, 4 * workers, SMALL)
        report: dict[str, Any] = {"workers": workers, "cores": os.cpu_count(), "runs": runs, "side": side}
        report |= _spread(sides, model.id, large, EACH * workers, runs)
        report |= _overhead(sides, model.id, runs)
    print(_text(report))
    print(json.dumps(report))
    return DONE if report["identical"] else FAILED


@contextmanager
def running_studio(configs: Path, values: Mapping[str, Any]) -> Iterator[Studio]:
    """Start a studio over a temporary folder, and stop it at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        overrides = {"output.directory": folder, "model.preload": True, **values}
        studio = build_studio(load_settings(configs, overrides=overrides))
        studio.start()
        try:
            yield studio
        finally:
            studio.stop()


def _wait_for_workers(studio: Studio, workers: int) -> None:
    end = time.monotonic() + PATIENCE
    while [worker.state for worker in studio.worker.status().workers].count("idle") < workers:
        trouble = studio.worker.status().trouble
        if trouble is not None:
            raise trouble
        if time.monotonic() > end:
            raise TimeoutError(f"{workers} workers did not come up in {PATIENCE:g} s")
        time.sleep(0.1)


def _draw(
    studio: Studio,
    model: str,
    images: int,
    values: Mapping[str, Any],
    seed: int = 1,
    look: float = LOOK_SECONDS,
    unseen: float = 0.0,
) -> tuple[Job, float]:
    """Return a job that has ended, and the seconds from its submission to the sight of its end; `unseen` of them without a look."""
    asked = {"model.id": model, "generation.prompt": PROMPT, "generation.seed": seed, "generation.num_images": images}
    began = time.perf_counter()
    job = studio.queue.submit(studio.requests.new({**asked, **values}))
    time.sleep(unseen)
    while any(
        active.id == job.id for active in studio.queue.snapshot().jobs
    ):  # read again only when something was written
        time.sleep(look)
    took = time.perf_counter() - began
    job = studio.queue.get(job.id)
    if job.error is not None:
        raise job.error
    return job, took


def _roles(sides: Mapping[str, Studio], generating: str) -> dict[int, str]:
    """Return the processes of one side. The local worker generates itself; on Ray the first process only serves."""
    own, other = (
        sides[generating].worker.status(),
        next(studio for name, studio in sides.items() if name != generating).worker.status(),
    )
    roles = {other.pid: AT_REST} | {worker.pid: AT_REST for worker in other.workers}
    roles |= {own.pid: SERVING if own.workers else DRAWING} | {worker.pid: DRAWING for worker in own.workers}
    return {pid: role for pid, role in roles.items() if pid is not None}


def _spread(
    sides: Mapping[str, Studio], model: str, values: Mapping[str, Any], images: int, runs: int
) -> dict[str, Any]:
    """Return seconds of one job of so many images on each side, taking turns, and whether the pixels are the same."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    accounts = {name: Account(partial(_roles, sides, name)) for name in sides}
    same = True
    for turn in range(runs):
        generated = {}
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            accounts[name].open()
            unseen = UNSEEN * min(seconds[name], default=0.0)
            job, took = _draw(sides[name], model, images, values, seed=1000 * turn + 1, unseen=unseen)
            accounts[name].close()
            seconds[name].append(round(took, 3))
            generated[name] = [_pixels(sides[name], image_id) for image_id in job.image_ids]
        same = same and generated["local"] == generated["ray"]
    ratios = [round(local / ray, 3) for local, ray in zip(seconds["local"], seconds["ray"], strict=True)]
    return {"images": images, "pictures": images, "seconds": seconds, "times_as_fast": ratios,
            "times_as_fast_median": round(statistics.median(ratios), 3), "identical": same,
            **_accounted(accounts, runs * images)}  # fmt: skip


def _accounted(accounts: Mapping[str, Account], images: int) -> dict[str, Any]:
    """Return the CPU time of an image on each side, and the largest possible speed-up by it.

    `pictures` and `processor_ms_a_picture` are former names, kept for programs that read them.
    """
    cores = os.cpu_count() or 1
    used = {name: {role: round(1000 * seconds / images, 1) for role, seconds in account.used.items() if role != OTHERS}
            for name, account in accounts.items()}  # fmt: skip
    possible = cores * accounts["local"].used[DRAWING] / max(1e-9, accounts["ray"].own())
    return {"cpu_ms_per_image": used, "processor_ms_a_picture": used,
            "share_of_all_cores": {name: account.shares() for name, account in accounts.items()},
            "times_as_fast_by_processor_time": round(possible, 3)}  # fmt: skip


def _pixels(studio: Studio, image_id: str) -> bytes:
    with Image.open(studio.history.file(image_id)) as image:
        return image.convert("RGB").tobytes()


def _overhead(sides: Mapping[str, Studio], model: str, runs: int) -> dict[str, Any]:
    """Return milliseconds that a job of one small image takes on each side."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(runs * SMALL_JOBS):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            took[name].append(1000 * _draw(sides[name], model, 1, SMALL, turn, NEAR_LOOK_SECONDS)[1])
    medians = {name: round(statistics.median(times), 1) for name, times in took.items()}
    overhead = round(medians["ray"] - medians["local"], 1)
    return {"small_jobs": runs * SMALL_JOBS, "small_job_ms": medians, "overhead_ms": overhead}


def _text(report: Mapping[str, Any]) -> str:
    local, ray = (statistics.median(report["seconds"][name]) for name in ("local", "ray"))
    workers, cores, used = report["workers"], report["cores"], report["cpu_ms_per_image"]
    others = {name: shares[OTHERS] for name, shares in report["share_of_all_cores"].items()}
    roles = (*dict.fromkeys(role for side in used.values() for role in side),)
    quiet = "" if max(others.values()) <= QUIET else f"  <- over {QUIET:.0%}: take the figures again on a quiet machine"
    rows = [f"{role:<28}" + "".join(f"{used[name].get(role, 0.0):>16.1f}" for name in used) for role in roles]
    return "\n".join(
        (
            f"{report['runs']} turns, a job of {report['images']} images each, sides of {report['side']} px; {cores} cores, a "
            "thread for each worker",
            f"{'':<28}{'local worker':>16}{f'{workers} on Ray':>16}",
            f"{'seconds of a job, median':<28}{local:>16.2f}{ray:>16.2f}",
            f"{'times as fast, median':<28}{1:>16}{report['times_as_fast_median']:>16.2f}  (each turn: {report['times_as_fast']})",
            f"{'pixels':<28}{'':>16}{'the same' if report['identical'] else 'DIFFERENT':>16}",
            "CPU time, ms an image:",
            *rows,
            f"{'other programs, of all cores':<28}{others['local']:>16.1%}{others['ray']:>16.1%}{quiet}",
            f"by processor time {cores} idle cores could be {report['times_as_fast_by_processor_time']:.2f} times as fast",
            f"a job of one small image, median of {report['small_jobs']}: local {report['small_job_ms']['local']} ms, Ray "
            f"{report['small_job_ms']['ray']} ms, difference {report['overhead_ms']:+.1f} ms",
        )
    )


COMMAND = "this command"
OTHERS = "other programs"
RAY = "Ray itself"
Roles = Callable[[], Mapping[int, str]]  # what the processes are called, by pid; those that are none of them are Ray's


@dataclass
class Account:
    """Adds up wall time, and processor time by role, between each `open` and `close`."""

    roles: Roles
    wall: float = 0.0
    used: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _before: tuple[float, float, Mapping[int, float]] = (0.0, 0.0, {})

    def open(self) -> None:
        """Start counting."""
        self._before = time.perf_counter(), _busy(), _own()

    def close(self) -> None:
        """Stop counting. Processes that ended meanwhile are not counted."""
        began, busy, own = self._before
        self.wall += time.perf_counter() - began
        ours, roles = 0.0, {**self.roles(), os.getpid(): COMMAND}
        for pid, seconds in _own().items():
            took = seconds - own.get(pid, 0.0)
            self.used[roles.get(pid, RAY)] += took
            ours += took
        self.used[OTHERS] += max(0.0, _busy() - busy - ours)

    def shares(self) -> dict[str, float]:
        """Return the share of all cores that each role used, 0 to 1."""
        whole = self.wall * (os.cpu_count() or 1)
        return {role: round(seconds / whole, 4) for role, seconds in self.used.items() if whole}

    def own(self) -> float:
        """Return processor seconds without those of other programs."""
        return sum(seconds for role, seconds in self.used.items() if role != OTHERS)


def _own() -> dict[int, float]:
    """Return seconds of the processor that this process and all below it have used, by pid."""
    me, found = psutil.Process(), {}
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def _busy() -> float:
    """Return seconds that all cores together were not idle; what the host took of a virtual machine is among them."""
    times = psutil.cpu_times()
    rest = sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq", "steal"))
    return float(times.user + times.system + rest)
