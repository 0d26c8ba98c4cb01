"""What all readers share: JSON that may be anything, and values that must pass the schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from core.config.loras import FORBIDDEN, KEY, read_uses
from core.config.options import SCHEMA
from core.errors import InputError, OptionError
from core.storage.infotext import well_formed
from core.types import FoundParameters

LONGEST = 4_000_000  # characters of JSON that are read; real workflows have a tenth of it
LONGEST_SAID = 300  # characters of a value that has no equivalent
MOST_SAID = 200  # such values

PROMPT, NEGATIVE = "generation.prompt", "generation.negative_prompt"
WIDTH, HEIGHT = "generation.width", "generation.height"
LORAS = KEY
STEPS, CFG, SEED = "generation.num_inference_steps", "generation.cfg_scale", "generation.seed"


def parsed(text: str | None) -> dict[str, Any] | None:
    """The JSON object in `text`; None when there is none."""
    if text is None or len(text) > LONGEST or not text.lstrip().startswith("{"):
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def found(program: str, values: Mapping[str, Any], rest: Mapping[str, Any]) -> FoundParameters:
    """`values` by schema key, those that the schema takes; `rest` by the other program's names, as text."""
    usable: dict[str, Any] = {}
    unused = {str(name)[:100]: said(value) for name, value in list(rest.items())[:MOST_SAID] if value not in (None, "")}
    for key, value in values.items():
        if value is None:
            continue
        try:
            usable[key] = SCHEMA.find(key, program).check(
                well_formed(value) if isinstance(value, str) else value, program
            )
        except InputError:
            unused[key] = said(value)
    return FoundParameters(program, usable, unused)


def said(value: Any) -> str:
    """A value as one short line."""
    words = value if isinstance(value, str) else _json(value)
    words = " ".join(well_formed(words[: 4 * LONGEST_SAID]).split())
    return words if len(words) <= LONGEST_SAID else words[: LONGEST_SAID - 1] + "…"


def loras(uses: Iterable[tuple[Any, Any]]) -> tuple[str, ...] | None:
    """What `lora.use` says instead of pairs of a file's name, whose folder and ending are left out, and a weight.

    None without any, or where one has no word there.
    """
    try:
        named = [(_stem(str(file)), float(weight)) for file, weight in uses]
        if any(mark in name for name, _ in named for mark in FORBIDDEN):
            return None
        return tuple(str(use) for use in read_uses([f"{name}:{weight:g}" for name, weight in named], "")) or None
    except (TypeError, ValueError, OptionError):
        return None


def _stem(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors").strip()


def size_of(words: Any) -> tuple[int | None, int | None]:
    """ "1024x768", "(1024, 768)" or [1024, 768] as numbers."""
    parts = (
        words
        if isinstance(words, list | tuple)
        else str(words).strip("()[] ").replace("×", "x").replace(",", "x").split("x")
    )
    try:
        width, height = (int(str(part).strip()) for part in parts)
    except ValueError:
        return None, None
    return width, height


def without(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "…"
