"""Measure each RoPE scaling on the embedded model at two and three times its largest trained side: `bench rope`.

Prompts of `demo-eval`, of combinations that training never saw, the same ones for every scaling; the recogniser reads the
attributes of each image. Beside the share that is right stands how much of an image appears in it twice. Images are
16:9, as half of the large ones in training were: that is half the work of squares.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL.Image import Image

from core.cli.console import DONE, SOURCE, whole_number
from core.cli.generate import pair
from core.config.options import SCHEMA
from core.config.schema import Option
from core.demo import classifier
from core.demo.evaluate import Question, Report, questions
from core.demo.repetition import repetition
from core.inference.generator import build_generator
from core.types import GenerationRequest

TIMES = (2, 3)  # of the trained side
METHODS = ("none", "linear", "ntk", "yarn", "dype")

Draw = Callable[[Question, tuple[int, int], str], Image]


@dataclass
class Row:
    """Results of one scaling at one size."""

    times: int
    method: str
    report: Report = field(default_factory=Report)
    repeated: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "times": self.times,
            "method": self.method,
            "prompts": len(self.repeated),
            "score": round(self.report.average, 4),
            "repetition": round(statistics.mean(self.repeated), 4),
            "seconds": round(statistics.mean(self.seconds), 2),
        }


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print a table and, last, one line of JSON. Each larger size gets as much time; every scaling gets the same prompts."""
    minutes = whole_number("--minutes", arguments.minutes, 1, 10_000)
    most = whole_number("--prompts", arguments.prompts, 1, 10_000)
    generator = build_generator(configs)
    given = {option.key: option.check(text, SOURCE) for option, text in _asked(arguments.set)}
    loaded = generator.load("demo", _options("none", 512) | given, lambda progress: None)
    base = whole_number(
        "--side", arguments.side or str(loaded.info.trained_side), 128, loaded.info.max_side // max(TIMES)
    )
    steps = whole_number("--steps", arguments.steps or str(loaded.info.default_steps), 1, 200)

    def generate(question: Question, size: tuple[int, int], method: str) -> Image:
        request = GenerationRequest(
            question.prompt,
            width=size[0],
            height=size[1],
            seed=question.seed,
            num_inference_steps=steps,
            options=_options(method, base) | given,
        )
        return generator.generate(request).images[0].image

    asked = questions(most, seed=2025)
    rows = measure(generate, asked, base, 1, METHODS[:1], minutes * 60 * 0.1)  # what is exceeded, for comparison
    for times in TIMES:
        rows += measure(generate, asked, base, times, METHODS, minutes * 60 * 0.9 / len(TIMES))
    print(table(rows, base, steps))
    print(json.dumps({"base": base, "steps": steps, "rows": [row.as_dict() for row in rows]}))
    return DONE


def _options(method: str, base: int) -> dict[str, Any]:
    """Return every option at its default but the scaling, whatever the user's files say."""
    changed = {"transformer.rope_scaling": method, "transformer.rope_base_resolution": base, "preview.enabled": False}
    return {option.key: option.default for option in SCHEMA.request_options()} | changed


def _asked(pairs: Iterable[str]) -> Iterator[tuple[Option, str]]:
    for key, text in map(pair, pairs):
        yield SCHEMA.find(key, SOURCE), text


def size_of(base: int, times: int) -> tuple[int, int]:
    """Return width and height in pixels, 16:9, with `times` the base side as the longer one."""
    return base * times, base * 9 // 16 * times


def measure(
    generate: Draw, asked: list[Question], base: int, times: int, methods: tuple[str, ...], seconds: float
) -> list[Row]:
    """Measure each method at `times` the base side; return one row per method.

    Runs further prompts while they are expected to end within `seconds`, at least one.
    """
    judge = classifier.load()
    rows = [Row(times, method) for method in methods]
    began = time.monotonic()
    for done, question in enumerate(asked):
        spent = time.monotonic() - began
        if done and spent * (done + 1) / done > seconds:
            break
        for row in rows:
            start = time.monotonic()
            image = generate(question, size_of(base, times), row.method)
            row.seconds.append(time.monotonic() - start)
            row.repeated.append(repetition(image))
            read = judge.read(image)
            for name, value in question.wanted.items():
                row.report.add(name, question.language, read[name] == value)
    return rows


def table(rows: list[Row], base: int, steps: int) -> str:
    """Format a table: share of right attributes, and repetition (0 none, 1 copies)."""
    lines = [f"embedded model, trained up to {base} px, {steps} steps"]
    lines.append(f"{'size':>10}{'scaling':>10}{'prompts':>9}{'score':>8}{'repetition':>12}{'seconds':>9}")
    for row in rows:
        figures = row.as_dict()
        size = "x".join(map(str, size_of(base, row.times)))
        lines.append(
            f"{size:>10}{row.method:>10}{figures['prompts']:>9}{figures['score']:>8.1%}"
            f"{figures['repetition']:>12.3f}{figures['seconds']:>9.1f}"
        )
    return "\n".join(lines)
