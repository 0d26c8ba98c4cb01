"""`upscale FILE ...`: enlarge images, or regenerate their details tile by tile, as jobs of the queue."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from core.cli.generate import FORMATS, SOURCE, GenerateCommand, format_of, pair, read_inputs, run_commands
from core.config.loader import PROFILE_KEY
from core.config.options import SCHEMA
from core.errors import OptionError
from core.history.importers import read_parameters
from core.i18n import localize
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
    """Upscale the images; the exit code. Raises StudioError for what can't be started."""
    files = [Path(name) for name in arguments.file]
    outs = _outs(files, Path(arguments.out) if arguments.out is not None else None)
    commands = [_command(arguments, file, out) for file, out in zip(files, outs, strict=True)]
    return run_commands(commands, language, configs)


def _outs(files: Sequence[Path], out: Path | None) -> list[Path | None]:
    """Return where each result is copied: of one file to `out` itself, of several into the folder `out` by their names.

    Raises OptionError when that is no folder, or two files have one name.
    """
    if out is None or len(files) == 1:
        return [out] * len(files)
    names = [file.stem for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not out.is_dir():
        allowed = localize("cli.upscale.folder")
        raise OptionError(source=SOURCE, key="--out", value=twice or out.name, allowed=allowed)
    return [out / f"{name}.png" for name in names]


def _command(arguments: argparse.Namespace, file: Path, out: Path | None) -> GenerateCommand:
    """Return the parsed command line for a file; with --detail and no --prompt its own prompt is used."""
    values: dict[str, Any] = {"upscale.mode": "detail" if arguments.detail else "enlarge", "generation.prompt": ""}
    values |= {key: value for key in FLAGS.values() if (value := getattr(arguments, key)) is not None}
    given = dict(pair(text) for text in arguments.set)
    named = {SCHEMA.canonical(key) for key in given}
    values = {**{key: value for key, value in values.items() if key not in named}, **given}
    profile = arguments.profile or values.pop(PROFILE_KEY, None)
    if out is not None:
        values["output.format"] = format_of(out)
    command = GenerateCommand(values, None, profile, out, not arguments.no_progress, False, {IMAGE: file})
    if arguments.detail and not values.get("generation.prompt"):
        found = read_parameters(BytesIO(read_inputs(command)[IMAGE]))
        values["generation.prompt"] = found.values.get("generation.prompt", "") if found is not None else ""
    return command


def add_arguments(command: argparse.ArgumentParser, words: dict[str, str], language: str) -> None:
    """Add the command's flags; the help of an option is the schema's own."""
    command.add_argument("file", metavar="FILE", nargs="+", help=words["upscale-file"])
    for flag, key in FLAGS.items():
        option = SCHEMA.options[key]
        note = f"{option.help[language]} [{option.allowed[language]}]".replace("%", "%%")
        command.add_argument(flag, dest=key, metavar=option.type.upper(), help=note)
    command.add_argument("--detail", action="store_true", help=words["upscale-detail"])
    command.add_argument("--out", metavar="FILE", help=words["out"].format(formats=", ".join(FORMATS)))
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=words["set"])
    command.add_argument("--profile", metavar="NAME", help=words["profile"])
    command.add_argument("--no-progress", action="store_true", help=words["no-progress"])
