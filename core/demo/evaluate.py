"""Measure whether images show what their prompts say, on unseen combinations, judged by the classifier.

    python -m core.demo.evaluate [--prompts N] [--seed S] [--steps N] [--guidance G] [--weights FOLDER]

Prints a table by attribute and language and one line of JSON, and ends non-zero below the bar. `evaluate` itself is
given a function that generates.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from core.demo import captions, classifier, scenes

AVERAGE_BAR, WORST_BAR, LANGUAGE_GAP = 0.95, 0.90, 0.02

Generate = Callable[[str, int, int, int], Image.Image]


@dataclass(frozen=True)
class Question:
    """One prompt of a combination that training never saw, and what its image is asked for."""

    prompt: str
    language: str
    seed: int
    wanted: dict[str, str]


@dataclass
class Report:
    """Right answers and questions by attribute and language."""

    right: dict[tuple[str, str], int] = field(default_factory=dict)
    asked: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, attribute: str, language: str, right: bool) -> None:
        """Count one answer."""
        key = attribute, language
        self.asked[key] = self.asked.get(key, 0) + 1
        self.right[key] = self.right.get(key, 0) + right

    def rate(self, attribute: str | None = None, language: str | None = None) -> float:
        """Return the part that is right, of one attribute, one language, or all; 1.0 where nothing was asked."""
        keys = [k for k in self.asked if attribute in (None, k[0]) and language in (None, k[1])]
        asked = sum(self.asked[k] for k in keys)
        return sum(self.right[k] for k in keys) / asked if asked else 1.0

    @property
    def attributes(self) -> list[str]:
        """Return the attributes that were asked for, in their usual order."""
        return [name for name in scenes.ATTRIBUTES if any(k[0] == name for k in self.asked)]

    @property
    def average(self) -> float:
        """Return the mean over the attributes, so that a rarely named one weighs as much as the others."""
        return sum(map(self.rate, self.attributes)) / max(1, len(self.attributes))

    @property
    def worst(self) -> float:
        """Return the lowest rate of an attribute, 0 to 1; 1.0 where nothing was asked."""
        return min(map(self.rate, self.attributes), default=1.0)

    @property
    def language_gap(self) -> float:
        """Return the difference of the rates of the languages, 0 to 1."""
        rates = [self.rate(language=language) for language in captions.LANGUAGES]
        return max(rates) - min(rates)

    @property
    def passed(self) -> bool:
        """Return True where average, worst attribute and language gap reach their bars."""
        return self.average >= AVERAGE_BAR and self.worst >= WORST_BAR and self.language_gap <= LANGUAGE_GAP

    def table(self) -> str:
        """Return the rates as lines of text, by attribute and language."""
        lines = [f"{'attribute':<12}{'all':>8}{'zh':>8}{'en':>8}{'asked':>8}"]
        for name in [*self.attributes, None]:
            rates = [self.rate(name), *(self.rate(name, language) for language in captions.LANGUAGES)]
            asked = sum(n for (attribute, _), n in self.asked.items() if name in (None, attribute))
            lines.append(f"{name or 'together':<12}" + "".join(f"{rate:>8.1%}" for rate in rates) + f"{asked:>8}")
        lines.append(
            f"average {self.average:.1%} (bar {AVERAGE_BAR:.0%}), worst {self.worst:.1%} (bar {WORST_BAR:.0%}), "
            f"languages apart {self.language_gap:.1%} (bar {LANGUAGE_GAP:.0%}): {'passed' if self.passed else 'FAILED'}"
        )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Return the figures for JSON."""
        return {
            "passed": self.passed,
            "average": round(self.average, 4),
            "worst": round(self.worst, 4),
            "language_gap": round(self.language_gap, 4),
            "attributes": {name: round(self.rate(name), 4) for name in self.attributes},
            "seconds": round(self.seconds, 1),
        }


def questions(count: int, seed: int) -> list[Question]:
    """Return half Chinese, half English, all held out."""
    rng = random.Random(seed)
    asked = []
    for index in range(count):
        language = captions.LANGUAGES[index % 2]
        scene = scenes.sample(rng, held_out=True)
        prompt, named = captions.caption(scene, rng, language)
        wanted = {name: value for name, value in scene.attributes().items() if name in named}
        asked.append(Question(prompt, language, rng.randrange(2**31), wanted))
    return asked


def evaluate(generate: Generate, prompts: int = 200, seed: int = 2025, width: int = 256, height: int = 256) -> Report:
    """Generate an image for each question with `generate(prompt, seed, width, height)`, classify it, and count."""
    judge, report, began = classifier.load(), Report(), time.monotonic()
    for question in questions(prompts, seed):
        read = judge.read(generate(question.prompt, question.seed, width, height))
        for name, value in question.wanted.items():
            report.add(name, question.language, read[name] == value)
    report.seconds = time.monotonic() - began
    return report


def plain_pipeline(folder: Path, steps: int = 8, guidance: float = 0.0) -> Generate:
    """Return a generator of plain diffusers on the folder, without the studio."""
    import torch
    from diffusers import ZImagePipeline

    pipeline = ZImagePipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def generate(prompt: str, seed: int, width: int, height: int) -> Image.Image:
        generator = torch.Generator().manual_seed(seed)
        return pipeline(
            prompt,
            width=width,
            height=height,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generator,
        ).images[0]

    return generate


def main(argv: list[str] | None = None) -> int:
    """Evaluate a diffusers folder; return 0 when it passes, else 1."""
    parser = argparse.ArgumentParser(prog="python -m core.demo.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2025)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--weights", type=Path, default=Path(__file__).with_name("weights"))
    options = parser.parse_args(argv)
    report = evaluate(plain_pipeline(options.weights, options.steps, options.guidance), options.prompts, options.seed)
    print(report.table())
    print(json.dumps(report.as_dict()))
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
