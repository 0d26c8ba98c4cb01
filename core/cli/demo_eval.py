"""`demo-eval`: measure how well the embedded model follows prompts, with the studio's own generator."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL.Image import Image

from core.cli.console import DONE, FAILED, whole_number
from core.config.options import SCHEMA
from core.demo.evaluate import evaluate
from core.inference.generator import Generator
from core.inference.resolution import SMALLEST_SIDE
from core.models.catalog import Catalog
from core.types import GenerationRequest


def run(arguments: argparse.Namespace, configs: Path) -> int:
    """Print the table and one line of JSON; exit code 1 below the bar. No setting of the user's takes part."""
    prompts = whole_number("--prompts", arguments.prompts, 2, 10_000)
    seed = whole_number("--seed", arguments.seed, 0, 2**31 - 1)
    catalog = Catalog(configs)
    largest = catalog.find(GenerationRequest.model).max_side
    width = whole_number("--width", arguments.width, SMALLEST_SIDE, largest)
    height = whole_number("--height", arguments.height, SMALLEST_SIDE, largest)
    generator = Generator(catalog)
    options = {option.key: option.default for option in SCHEMA.request_options()}

    def generate(prompt: str, seed: int, width: int, height: int) -> Image:
        request = GenerationRequest(prompt, width=width, height=height, seed=seed, options=options)
        return generator.generate(request).images[0].image

    report = evaluate(generate, prompts, seed, width, height)
    print(report.table())
    asked = {"prompts": prompts, "seed": seed, "width": width, "height": height}
    print(json.dumps({**asked, **report.as_dict()}))
    return DONE if report.passed else FAILED
