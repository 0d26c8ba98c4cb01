"""How many workers one dispatcher and one database can feed: 1 to 256 simulated workers over everything else that is real.

    python -m tests.benchmarks.cluster                                    1024x1024 on RTX 4090s, 1 to 256 of them
    python -m tests.benchmarks.cluster --card h200 --workers 4 8 --seconds 30
    python -m tests.benchmarks.cluster --side 256 --image-seconds 0.5   the embedded model, as measured here

Queue, database, dispatcher, pool, files and history are those of the product, in this process; the workers are a
timetable: a step's word with its preview when a step is due, then an image. What an image takes on a GPU is 467 TFLOP
over the GPU's published speed (no GPU draws faster than that, so no dispatcher is asked for more). Printed for each
number of workers: images a second, the share of what the workers could draw, and the processor time of an image.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import os
import queue
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from core.cluster.dispatcher import Dispatcher, need_of
from core.cluster.transport import Ended, Facts, Heard, Node, Step, WorkerGone
from core.cluster.worker_pool import WorkerPool
from core.history.store import History
from core.jobs.job_rows import new_id
from core.jobs.queue import JobQueue
from core.jobs.worker_process import WorkerConfig
from core.models.catalog import Catalog
from core.models.model_paths import places_of
from core.storage.database import Database
from core.types import GeneratedImage, HistoryQuery, Phase, Progress, WorkerStatus
from tests.integration.jobs.harness import make_request, make_settings

TERA = {"rtx4090": 165, "h100": 790, "h200": 790}  # published TFLOP/s of dense bfloat16
IMAGE_TERA = 467  # one image of Z-Image-Turbo, 1024x1024 at 8 steps
STEPS = 8
ENOUGH = 0.9  # of what the workers could draw


class Timetable:
    """A link to workers that are entries of a calendar. Each draws an image in about `seconds`, in equal steps."""

    def __init__(self, workers: int, seconds: float, side: int) -> None:
        self._seconds = seconds
        self._node = Node("cards", "cards", os.cpu_count() or 1, workers)
        self._handles = itertools.count()
        self._heard: queue.SimpleQueue[tuple[int, Heard | WorkerGone]] = queue.SimpleQueue()
        self._due: list[tuple[float, int, int, Step | Ended]] = []
        self._order = itertools.count()
        self._guard = threading.Condition()
        self._dice = random.Random(7)
        self._image = photograph(side)
        self._preview = preview()
        threading.Thread(target=self._deliver, daemon=True).start()

    def nodes(self) -> Sequence[Node]:
        return [self._node]

    def start(self, node: Node, threads: int) -> int:
        return next(self._handles)

    def send(self, handle: int, verb: str, *arguments: Any) -> None:
        now = time.monotonic()
        if verb == "prepare":
            self._plan(now, handle, Ended(arguments[0]))
        elif verb == "generate":
            ticket, request, _ = arguments
            took = self._seconds * self._dice.uniform(0.8, 1.2)  # else all would end at once
            for step in range(1, STEPS + 1):
                told = Progress(Phase.STEPS, step, STEPS, preview=self._preview if step % 2 == 0 else None)
                self._plan(now + step * took / (STEPS + 1), handle, Step(ticket, told))
            timings = {"text": 0.0, "steps": took, "decode": 0.0}
            image = GeneratedImage(self._image, request, self._image.size, timings, {"model.device": "cuda"})
            self._plan(now + took, handle, Ended(ticket, image))

    def hear(self, handles: Sequence[int], seconds: float) -> Sequence[tuple[int, Heard | WorkerGone]]:
        heard = []
        with suppress(queue.Empty):
            heard.append(self._heard.get(timeout=seconds))
            while True:
                heard.append(self._heard.get_nowait())
        known = set(handles)
        for late in [pair for pair in heard if pair[0] not in known]:
            self._heard.put(late)
        return [pair for pair in heard if pair[0] in known]

    def end(self, handle: int) -> None:
        pass

    def _plan(self, when: float, handle: int, message: Step | Ended) -> None:
        with self._guard:
            heapq.heappush(self._due, (when, next(self._order), handle, message))
            self._guard.notify()

    def _deliver(self) -> None:
        facts = Facts(WorkerStatus("idle", model="demo", device="cuda"), "simulated", 24 * 10**9, 4 * 10**9, 20 * 10**9)
        while True:
            with self._guard:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._guard.wait(self._due[0][0] - time.monotonic() if self._due else 1.0)
                _, _, handle, message = heapq.heappop(self._due)
            self._heard.put((handle, Heard((message,), facts if isinstance(message, Ended) else None)))


def photograph(side: int) -> Image.Image:
    """As hard to compress as a photograph: soft shapes with some grain."""
    dice = np.random.default_rng(7)
    soft = Image.fromarray(dice.integers(0, 255, (side // 16, side // 16, 3), np.uint8)).resize((side, side))
    grain = dice.normal(0, 4, (side, side, 3))
    return Image.fromarray(
        np.clip(np.asarray(soft.filter(ImageFilter.GaussianBlur(4))) + grain, 0, 255).astype(np.uint8)
    )


def preview() -> bytes:
    with tempfile.SpooledTemporaryFile() as file:
        photograph(128).save(file, "WEBP")
        file.seek(0)
        return file.read()


def measure(workers: int, seconds: float, side: int, images: int, length: float) -> dict[str, float]:
    """Run so many workers for `length` seconds or a little more over jobs of so many images."""
    length = seconds * math.ceil(length / seconds)  # all begin at once: images come in waves, whole ones are counted
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        directory = Path(folder)
        database = Database(directory / "studio.db")
        jobs, history = JobQueue(database), History(database, directory)
        asked = make_request(width=side, height=side, num_inference_steps=STEPS)
        for k in range(int(workers * (2 * length + 10) / seconds / images) + 3 * workers):
            jobs.submit(replace(asked, seed=1000 * k, num_images=images))
        settings = make_settings(directory)
        config = WorkerConfig(new_id(), os.getpid(), directory, settings.configs, settings.values)
        stopping = threading.Event()
        need = need_of(Catalog(settings.configs, places_of(settings)))
        pool = WorkerPool(Timetable(workers, seconds, side), workers, 0.0, (None, {}), need)
        dispatcher = threading.Thread(target=Dispatcher(config, database, pool, stopping).run)
        dispatcher.start()
        until = time.monotonic() + max(10.0, 2 * seconds)
        while (len(pool.workers()) < workers or pool.has_free()) and time.monotonic() < until:  # until all draw
            time.sleep(0.01)
        before, busy, began = made(history), time.process_time(), time.monotonic()
        time.sleep(length)
        generated, busy, took = made(history) - before, time.process_time() - busy, time.monotonic() - began
        stopping.set()
        dispatcher.join()
        time.sleep(1.0)  # what is being saved
    could = workers / seconds
    return {"workers": workers, "images_per_second": round(generated / took, 2), "share": round(generated / took / could, 3),
            "cpu_ms_per_image": round(1000 * busy / max(1, generated), 1)}  # fmt: skip


def made(history: History) -> int:
    return history.search(HistoryQuery(limit=1)).total


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gpu", choices=TERA, default="rtx4090")
    options.add_argument("--image-seconds", type=float, help="instead of a GPU's")
    options.add_argument("--side", type=int, default=1024)
    options.add_argument("--images", type=int, default=1, help="of each job")
    options.add_argument("--seconds", type=float, default=12.0, help="for each number of workers, about")
    options.add_argument("--workers", type=int, nargs="*", default=[2**k for k in range(9)])
    selected = options.parse_args()
    seconds = selected.image_seconds or IMAGE_TERA / TERA[selected.gpu]
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{selected.side}x{selected.side}, {seconds:.2f} s an image, {selected.images} a job; {machine}")
    rows = []
    for workers in selected.workers:
        row = measure(workers, seconds, selected.side, selected.images, selected.seconds)
        rate, spent = row["images_per_second"], row["cpu_ms_per_image"]
        print(f"{workers:>4} workers: {rate:>7} images/s, {row['share']:>7.1%}, {spent} ms an image", flush=True)
        rows.append(row)
    fed = max((row["workers"] for row in rows if row["share"] >= ENOUGH), default=0)
    most = max(row["images_per_second"] for row in rows)
    print(f"fed at {ENOUGH:.0%} or better: up to {fed} workers; most: {most} images/s")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
