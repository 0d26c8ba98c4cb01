"""Measure images of the embedded model by variety option and by sampler: `bench variety`, `bench samplers`.

The distance is the mean absolute difference of pixels between the seeds of one prompt, in levels of 255.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from core.cli.console import DONE, whole_number
from core.config.options import SCHEMA
from core.config.samplers import SAMPLER, SCHEDULE, SCHEDULES, usable
from core.demo import classifier
from core.demo.evaluate import evaluate, questions
from core.inference import variety
from core.inference.generator import build_generator
from core.types import GenerationRequest

STRENGTHS = (
    (variety.STRENGTH, (0.1, 0.3, 0.6, 1.0)),
    (variety.EMBEDS_NOISE, (0.1, 0.3, 0.6, 1.0)),
    (variety.SHORT_STEPS, (0.125, 0.25, 0.375, 0.5)),
)
SEEDS, SIDE, STEPS = 4, 256, 8


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a row for each option and strength, without any first; last one line of JSON."""
    prompts = whole_number("--prompts", arguments.prompts, 2, 10_000)
    generator, judge = build_generator(configs), classifier.load()
    defaults = {option.key: option.default for option in SCHEMA.request_options()}
    asked = questions(prompts, 2025)
    rows: list[dict[str, Any]] = []
    print(f"{'option':<32}{'strength':>9}{'between seeds':>15}{'adherence':>11}")
    for key, value in (("-", 0.0), *((key, value) for key, values in STRENGTHS for value in values)):
        distances, right, named = [], 0, 0
        for question in asked:
            images = []
            for seed in range(question.seed, question.seed + SEEDS):
                changed = {**defaults, **({key: value} if key != "-" else {}), variety.SEED: seed + 1_000_000}
                request = GenerationRequest(
                    question.prompt, width=SIDE, height=SIDE, seed=seed, num_inference_steps=STEPS, options=changed
                )
                images.append(generator.generate(request).images[0].image)
                read = judge.read(images[-1])
                right += sum(read[name] == wanted for name, wanted in question.wanted.items())
                named += len(question.wanted)
            pixels = [np.asarray(image, dtype=np.float32) for image in images]
            distances += [float(np.abs(a - b).mean()) for a, b in itertools.combinations(pixels, 2)]
        row = {
            "option": key,
            "strength": value,
            "distance": round(float(np.mean(distances)), 2),
            "adherence": right / named,
        }
        rows.append(row)
        print(f"{key:<32}{value:>9g}{row['distance']:>15.1f}{row['adherence']:>11.1%}", flush=True)
    print(json.dumps({"prompts": prompts, "seeds": SEEDS, "side": SIDE, "steps": STEPS, "rows": rows}))
    return DONE


SAMPLER_STEPS = (4, 8, 16)
SAMPLER_SIDE = 256  # px


def run_samplers(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a row for each sampler with the simple schedule, and for Euler with each other one; last one line of JSON."""
    prompts = whole_number("--prompts", arguments.prompts, 2, 10_000)
    generator = build_generator(configs)
    options = {option.key: option.default for option in SCHEMA.request_options()}
    rows: list[dict[str, Any]] = []
    pairs = [(sampler, "simple") for sampler in usable("flow")]
    pairs += [("euler", schedule) for schedule in SCHEDULES if schedule != "simple"]
    print(f"{'sampler':<18}{'schedule':<14}" + "".join(f"{f'{steps} steps':>22}" for steps in SAMPLER_STEPS))
    for sampler, schedule in pairs:
        cells = []
        for steps in SAMPLER_STEPS:
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

            report = evaluate(generate, prompts, 2025, SAMPLER_SIDE, SAMPLER_SIDE)
            row = {"sampler": sampler, "schedule": schedule, "steps": steps, "score": round(report.average, 4)}
            rows.append({**row, "seconds": round(statistics.median(seconds), 3)})
            cells.append(f"{report.average:>12.1%}{rows[-1]['seconds']:>8.2f} s")
        print(f"{sampler:<18}{schedule:<14}" + "".join(cells), flush=True)
    print(json.dumps({"prompts": prompts, "side": SAMPLER_SIDE, "rows": rows}))
    return DONE
