"""Find and read the files behind __name__: text, YAML or JSON; those in the user's folder win over the shipped ones.

A name or pattern is only compared with the files that are there: nothing that a prompt says becomes a path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

from core.batch import structured_wildcards
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
        files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in structured_wildcards.ENDINGS)
        for path in islice(files, MOST_FILES):
            try:
                found |= structured_wildcards.read(path, LARGEST)
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
