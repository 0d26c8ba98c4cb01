"""Read wildcards out of a YAML or JSON file: nested keys are names, lists are lines.

    artists:
      finnish: [Akseli Gallen-Kallela, "2::Albert Edelfelt"]     __artists/finnish__, the second twice as often

As sd-dynamic-prompts and ComfyUI's Impact Pack have them: the names begin at the file's own keys, whatever it is called; a list
alone has the file's name. A line may have a weight (`2::text`, or `text` and `weight`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from core.batch.templates import NAME

ENDINGS = (".yaml", ".yml", ".json")
DEEPEST = 20  # keys within keys
MOST = 100_000  # lines of a file; YAML's references could make millions of a few bytes
_WEIGHT = re.compile(r"(\d+\.?\d*|\.\d+)::(.*)", re.DOTALL)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's reads 1 MB in a tenth of the time


class Line(str):
    """A line of a wildcard file with its weight; a plain str has weight 1."""

    weight: float = 1.0


def weights_of(lines: Sequence[str]) -> list[float]:
    """Return the weight of each line."""
    return [getattr(line, "weight", 1.0) for line in lines]


def read(path: Path, largest: int) -> Mapping[str, Sequence[str]]:
    """Return the lines by name. Raises ValueError that says what is wrong, or OSError."""
    stat = path.stat()
    if stat.st_size > largest:
        raise ValueError(f"more than {largest} bytes")
    return _read(path, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=256)
def _read(path: Path, _unchanged: tuple[int, int]) -> Mapping[str, Sequence[str]]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        data = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{place}{getattr(error, 'problem', None) or 'no YAML'}") from None
    except RecursionError:
        raise ValueError(f"more than {DEEPEST} levels") from None
    found: dict[str, list[str]] = {}
    for count, (name, line) in enumerate(_entries(data if isinstance(data, dict) else {path.stem: data}, ()), 1):
        if count > MOST:
            raise ValueError(f"more than {MOST} lines")
        found.setdefault(name, []).append(line)
    return {name: lines for name, lines in found.items() if any(weight > 0 for weight in weights_of(lines))}


def _entries(data: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if len(above) > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels")
    for key, value in data.items():
        names = (*above, str(key).strip())
        name = "/".join(names)
        if isinstance(value, dict):
            yield from _entries(value, names)
        elif NAME.fullmatch(name):  # a prompt can ask for no other
            for item in value if isinstance(value, list) else [value]:
                line = _line(item, name)
                if line:
                    yield name, line


def _line(item: Any, name: str) -> str:
    """Return one entry of a list: a text, a number, or a mapping with `text` (or `content`) and `weight`."""
    weight: Any = 1.0
    if isinstance(item, dict):
        item, weight = item.get("text", item.get("content")), item.get("weight", 1.0)
    if item is None:
        return ""
    if not isinstance(item, (str, int, float)) or not isinstance(weight, (int, float)) or not 0 <= weight < 1e9:
        raise ValueError(f"{name}: {str(item)[:40]!r} is neither a text nor a text with a weight")
    text = " ".join(str(item).split()) if isinstance(item, str) else str(item)
    found = _WEIGHT.fullmatch(text)
    line = Line(found[2].strip() if found else text)
    line.weight = float(found[1]) if found else float(weight)
    return line
