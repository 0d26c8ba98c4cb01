"""Measure prompt adherence and seconds per image of the embedded model by sampler and schedule: `bench samplers`.

The prompts are those of `demo-eval`, of combinations that training never saw, the same for every row.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from PIL.Image import Image

from core.cli.console import DONE, whole_number
from core.config.options import SCHEMA
from core.config.samplers import SAMPLER, SCHEDULE, SCHEDULES, usable
from core.demo.evaluate import evaluate
from core.inference.generator import build_generator
from core.types import GenerationRequest

STEPS = (4, 8, 16)
SIDE = 256  # px


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a row for each sampler with the simple schedule, and for Euler with each other one; last one line of JSON."""
    prompts = whole_number("--prompts", arguments.prompts, 2, 10_000)
    generator = build_generator(configs)
    options = {option.key: option.default for option in SCHEMA.request_options()}
    rows: list[dict[str, Any]] = []
    pairs = [(sampler, "simple") for sampler in usable("flow")]
    pairs += [("euler", schedule) for schedule in SCHEDULES if schedule != "simple"]
    print(f"{'sampler':<18}{'schedule':<14}" + "".join(f"{f'{steps} steps':>22}" for steps in STEPS))
    for sampler, schedule in pairs:
        cells = []
        for steps in STEPS:
            seconds: list[float] = []
            changed = {**options, SAMPLER: sampler, SCHEDULE: schedule}

            def generate(
                prompt: str, seed: int, width: int, height: int,
                steps: int = steps, changed: dict[str, Any] = changed, seconds: list[float] = seconds,
            ) -> Image:  # fmt: skip
                request = GenerationRequest(
                    prompt, width=width, height=height, seed=seed, num_inference_steps=steps, options=changed
                )
                image = generator.generate(request).images[0]
                seconds.append(image.timings["steps"])
                return image.image

            report = evaluate(generate, prompts, 2025, SIDE, SIDE)
            row = {"sampler": sampler, "schedule": schedule, "steps": steps, "score": round(report.average, 4)}
            rows.append({**row, "seconds": round(statistics.median(seconds), 3)})
            cells.append(f"{report.average:>12.1%}{rows[-1]['seconds']:>8.2f} s")
        print(f"{sampler:<18}{schedule:<14}" + "".join(cells), flush=True)
    print(json.dumps({"prompts": prompts, "side": SIDE, "rows": rows}))
    return DONE
