"""Find and read the files behind __name__: text, YAML or JSON; those in the user's folder win over the shipped ones.

A name or pattern is only compared with the files that are there: nothing that a prompt says becomes a path.

A YAML or JSON file has several: nested keys are names, lists are lines.

    artists:
      finnish: [Akseli Gallen-Kallela, "2::Albert Edelfelt"]     __artists/finnish__, the second twice as often

As sd-dynamic-prompts and ComfyUI's Impact Pack have them: the names begin at the file's own keys, whatever it is called; a list
alone has the file's name. A line may have a weight (`2::text`, or `text` and `weight`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from core.batch.templates import NAME
from core.errors import WildcardError
from core.i18n import LANGUAGES, localize

LARGEST = 1_000_000  # bytes of a file
COMMENT = "#"  # a line that begins with it says something to people only
MOST_FILES = 10_000
SHOWN = 30  # names in an error


class WildcardFiles:
    """The folders with their subfolders as they are now; a file is read once."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders  # a later one wins
        self._read: dict[str, Sequence[str]] = {}
        self._broken: dict[str, str] = {}  # YAML and JSON files that can't be read -> why

    def names(self) -> tuple[str, ...]:
        """Return what can stand between two double underscores, in alphabetical order: `color`, `art/style`."""
        return tuple(sorted(self._files))

    def lines(self, name: str) -> Sequence[str]:
        """Return the lines of a file, or of all files that a pattern matches, without empty ones and comments.

        `*` stands for any part of a name, `**` for folders, too. Raises WildcardError.
        """
        if name not in self._read:
            found = [name] if name in self._files else self._matching(name)
            if not found:
                self._refuse_broken()
                raise WildcardError(value=f"__{name}__", allowed=self._known())
            self._read[name] = [line for one in found for line in self._lines(self._files[one])]
        return self._read[name]

    def _refuse_broken(self) -> None:
        """Raise for files that can't be read: a name that nothing has may stand in one of them."""
        for file, detail in self._broken.items():
            raise WildcardError(value=file, allowed=localize("batch.wildcard_files.yaml_or_json", detail=detail))

    @cached_property
    def _files(self) -> Mapping[str, Path | Sequence[str]]:
        """Return each name with its text file, or with its lines out of a YAML or JSON file."""
        found: dict[str, Path | Sequence[str]] = {}
        for folder in self._folders:
            found |= self._structured(folder)
            for path in sorted(folder.rglob("*.txt"))[:MOST_FILES]:
                name = path.relative_to(folder).with_suffix("").as_posix()
                if NAME.fullmatch(name):
                    found[name] = path
        return found

    def _structured(self, folder: Path) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {}
        files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS)
        for path in islice(files, MOST_FILES):
            try:
                found |= read(path, LARGEST)
            except (OSError, ValueError) as error:
                self._broken[path.relative_to(folder).as_posix()] = " ".join(str(error).split())[:200]
        return found

    def _matching(self, pattern: str) -> list[str]:
        if "*" not in pattern:
            return []
        parts = (re.escape(part) for part in re.split(r"(\*\*|\*)", pattern))
        expression = "".join({r"\*\*": ".*", r"\*": "[^/]*"}.get(part, part) for part in parts)
        return [name for name in self.names() if re.fullmatch(expression, name)]

    def _lines(self, path: Path | Sequence[str]) -> Sequence[str]:
        if not isinstance(path, Path):
            return path
        try:
            if path.stat().st_size > LARGEST:
                raise ValueError("too large")
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            words = localize("batch.wildcard_files.a_utf_8_text_of_at", largest=LARGEST)
            raise WildcardError(value=path.name, allowed=words) from error
        lines = [line.strip() for line in text.split("\n")]
        kept = [line for line in lines if line and not line.startswith(COMMENT)]
        if not kept:
            raise WildcardError(value=path.name, allowed=localize("batch.wildcard_files.a_file_with_at_least_one"))
        return kept

    def _known(self) -> dict[str, str]:
        names = self.names()
        listed = ", ".join(f"__{name}__" for name in names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
        return dict.fromkeys(LANGUAGES, listed) if listed else localize("batch.wildcard_files.none")


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
