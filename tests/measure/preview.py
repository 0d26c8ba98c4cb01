"""What the live preview costs: seconds of the denoising steps with it and without it, in percent.

    python -m tests.measure.preview                        20 pairs of pictures at 256x256, 8 steps
    python -m tests.measure.preview --pairs 2 --side 64 --steps 4

Every picture goes the whole way through queue and worker, so that the preview's projection, its WebP and its row in the
database are all counted. The two of a pair have the same prompt and seed and take turns to be first; the figure is the
median over the pairs. Needs the embedded model and a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time

from core.bootstrap import build_studio
from core.config.layers import load_settings
from core.studio import Studio
from core.types import JobState

LIMIT = 2.0  # percent


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=20)
    options.add_argument("--side", type=int, default=256, help="pixels")
    options.add_argument("--steps", type=int, default=8)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        studio = build_studio(load_settings(overrides={"output.directory": folder}))
        studio.start()
        try:
            for preview in (True, False):  # to warm up
                steps_of(studio, chosen.side, chosen.steps, 1, preview)
            pairs = [pair(studio, chosen.side, chosen.steps, seed) for seed in range(2, 2 + chosen.pairs)]
        finally:
            studio.stop()
    costs = [100 * (with_it / without - 1) for with_it, without in pairs]
    middle = statistics.median(costs)
    without = statistics.median(seconds for _, seconds in pairs)
    print(
        f"preview: {middle:+.2f}% of the steps' time (limit {LIMIT:g}%), {without:.3f} s without it, {len(pairs)} pairs"
    )
    report = {"pairs": len(pairs), "side": chosen.side, "steps": chosen.steps, "median_percent": round(middle, 3),
              "percents": [round(cost, 2) for cost in costs], "seconds_without": round(without, 4)}  # fmt: skip
    print(json.dumps({**report, "limit_percent": LIMIT}))


def pair(studio: Studio, side: int, steps: int, seed: int) -> tuple[float, float]:
    """Seconds of the steps with the preview and without it."""
    order = (True, False) if seed % 2 else (False, True)
    seconds = {preview: steps_of(studio, side, steps, seed, preview) for preview in order}
    return seconds[True], seconds[False]


def steps_of(studio: Studio, side: int, steps: int, seed: int, preview: bool) -> float:
    values = {"prompt": "a red house at sunset, snowy mountains", "model": "demo", "width": side, "height": side,
              "steps": steps, "seed": seed, "preview.enabled": preview}  # fmt: skip
    job = studio.submit(studio.new_request(values))
    while (job := studio.job(job.id)).state.active:
        time.sleep(0.05)
    if job.state is not JobState.DONE:
        raise SystemExit(f"no picture: {job.error or job.state}")
    return studio.image(job.image_ids[0]).timings["steps"]


if __name__ == "__main__":
    main()
