"""What the live preview costs: the time of an image with it and without it, in percent.

    python -m tests.benchmarks.preview                        100 pairs of images at 256x256, 8 steps
    python -m tests.benchmarks.preview --pairs 4 --side 64 --steps 4

Each image goes through the queue and the worker's own course of a job, run here in one process: all that a preview causes
(its projection, its WebP, its row in the database) is in between two looks at the clock, and nobody else looks meanwhile.
The two of a pair have the same prompt and seed, follow on one another, and take turns to be first. Three figures: by the
clock, of the whole image and of its denoising alone, and of the processor time of all threads, which does not know what
else the machine has to do. Each is the median over the pairs, with its standard error. Needs the embedded model; by the clock,
a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from core.config.loader import load_settings
from core.jobs.generator_protocol import DEFAULT_GENERATOR, LazyGenerator, build_generator
from core.jobs.runner import JobRunner
from core.jobs.worker_process import open_database, open_store
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.types import JobState, Progress

LIMIT = 2.0  # percent
FIGURES = ("clock", "denoising", "processor")
EFFICIENCY = math.sqrt(math.pi / 2)  # a median's standard error beside a mean's
OF_NORMAL = 1.4826  # a normal distribution's deviation beside the median of its distances from the middle


class Course:
    """The studio's queue, and what runs its jobs, in this process."""

    def __init__(self, folder: str) -> None:
        settings = load_settings(overrides={"output.directory": folder})
        self.studio: Studio = build_studio(settings)
        self.previews = 0  # that have been drawn
        place, values = settings.output_directory, settings.values
        generator = build_generator(DEFAULT_GENERATOR, settings.configs, values)
        generator.generate = self._counted(generator.generate)  # type: ignore[method-assign]
        self._runner = JobRunner(
            "here", open_database(place, values), open_store(place, values), LazyGenerator(lambda: generator),
            lambda state: None, threading.Event(),
        )  # fmt: skip

    def _counted(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        def counted(request: Any, on_progress: Callable[[Progress], None], *rest: Any) -> Any:
            def told(progress: Progress) -> None:
                self.previews += progress.preview is not None
                on_progress(progress)

            return generate(request, told, *rest)

        return counted

    def image(self, side: int, steps: int, seed: int, preview: bool) -> dict[str, float]:
        """Return seconds that the image took, by FIGURES."""
        values = {"prompt": "a red house at sunset, snowy mountains", "model": "demo", "width": side, "height": side,
                  "steps": steps, "seed": seed, "preview.enabled": preview}  # fmt: skip
        job = self.studio.queue.submit(self.studio.requests.new(values))
        clock, processor = time.perf_counter(), time.process_time()
        self._runner.run_next()
        took = {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}
        job = self.studio.queue.get(job.id)
        if job.state is not JobState.DONE:
            raise SystemExit(f"no image: {job.error or job.state}")
        return {**took, "denoising": self.studio.history.get(job.image_ids[0]).timings["steps"]}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=100)
    options.add_argument("--side", type=int, default=256, help="pixels")
    options.add_argument("--steps", type=int, default=8)
    selected = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        course = Course(folder)
        for number in range(6):  # to warm up
            course.image(selected.side, selected.steps, 1, bool(number % 2))
        course.previews = 0
        pairs = [pair(course, selected.side, selected.steps, seed) for seed in range(2, 2 + selected.pairs)]
    report: dict[str, Any] = {
        "pairs": len(pairs), "side": selected.side, "steps": selected.steps, "limit_percent": LIMIT,
        "previews_per_image": round(course.previews / len(pairs), 2),
    }  # fmt: skip
    for name in FIGURES:
        middle, error = median_of([100 * (with_it[name] / without[name] - 1) for with_it, without in pairs])
        seconds = statistics.median(without[name] for _, without in pairs)
        report[name] = {"percent": round(middle, 3), "error": round(error, 3), "seconds_without": round(seconds, 4)}
        print(f"preview, {name}: {middle:+.2f}% ± {error:.2f} of {seconds:.3f} s (limit {LIMIT:g}%)")
    print(json.dumps(report))


def pair(course: Course, side: int, steps: int, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return an image with the preview and the same one without it."""
    order = (True, False) if seed % 2 else (False, True)
    took = {preview: course.image(side, steps, seed, preview) for preview in order}
    return took[True], took[False]


def median_of(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and its standard error, estimated so that a few wild values do not count."""
    middle = statistics.median(values)
    spread = OF_NORMAL * statistics.median(abs(value - middle) for value in values)
    return middle, EFFICIENCY * spread / math.sqrt(len(values))


if __name__ == "__main__":
    main()
