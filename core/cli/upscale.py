"""`upscale FILE`: enlarge an image, or regenerate its details tile by tile, as a job of the queue."""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import Any

from core.cli.generate import FORMATS, Order, format_of, pair, read_inputs, run_order
from core.config.loader import PROFILE_KEY
from core.config.options import SCHEMA
from core.history.importers import read_parameters
from core.types import IMAGE

FLAGS = {  # flag -> the option that it sets
    "--by": "upscale.by",
    "--upscaler": "upscale.method",
    "--strength": "upscale.denoising_strength",
    "--prompt": "generation.prompt",
    "--steps": "generation.num_inference_steps",
    "--seed": "generation.seed",
    "--model": "model.id",
}


def run(arguments: argparse.Namespace, language: str, configs: Path) -> int:
    """Upscale the image; the exit code. Raises StudioError for what can't be started."""
    return run_order(_order(arguments), language, configs)


def _order(arguments: argparse.Namespace) -> Order:
    """Return the parsed command line; with --detail and no --prompt the file's own prompt is used."""
    values: dict[str, Any] = {"upscale.mode": "detail" if arguments.detail else "enlarge", "generation.prompt": ""}
    values |= {key: value for key in FLAGS.values() if (value := getattr(arguments, key)) is not None}
    given = dict(pair(text) for text in arguments.set)
    named = {SCHEMA.canonical(key) for key in given}
    values = {**{key: value for key, value in values.items() if key not in named}, **given}
    profile = arguments.profile or values.pop(PROFILE_KEY, None)
    out = Path(arguments.out) if arguments.out is not None else None
    if out is not None:
        values["output.format"] = format_of(out)
    order = Order(values, None, profile, out, not arguments.no_progress, False, {IMAGE: Path(arguments.file)})
    if arguments.detail and not values.get("generation.prompt"):
        found = read_parameters(BytesIO(read_inputs(order)[IMAGE]))
        values["generation.prompt"] = found.values.get("generation.prompt", "") if found is not None else ""
    return order


def add_arguments(command: argparse.ArgumentParser, words: dict[str, str], language: str) -> None:
    """Add the command's flags; the help of an option is the schema's own."""
    command.add_argument("file", metavar="FILE", help=words["upscale-file"])
    for flag, key in FLAGS.items():
        option = SCHEMA.options[key]
        note = f"{option.help[language]} [{option.allowed[language]}]".replace("%", "%%")
        command.add_argument(flag, dest=key, metavar=option.type.upper(), help=note)
    command.add_argument("--detail", action="store_true", help=words["upscale-detail"])
    command.add_argument("--out", metavar="FILE", help=words["out"].format(formats=", ".join(FORMATS)))
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words["set"])
    command.add_argument("--profile", metavar="NAME", help=words["profile"])
    command.add_argument("--no-progress", action="store_true", help=words["no-progress"])
