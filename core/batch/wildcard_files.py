"""The files behind __name__: one text a line, in the shipped folder and in one of the user's own, which wins.

Only names reach this module, and only those of a-z, 0-9, - and _: nothing that a prompt says becomes a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.batch.wildcards import NAME
from core.errors import WildcardError
from core.i18n import localize

LARGEST = 1_000_000  # bytes of a file
COMMENT = "#"  # a line that begins with it says something to people only


class WildcardFiles:
    """The wildcard folders; each file is read once."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders  # a later one wins
        self._read: dict[str, Sequence[str]] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of all wildcards, sorted."""
        found = {path.stem for folder in self._folders for path in folder.glob("*.txt")}
        return tuple(sorted(name for name in found if NAME.fullmatch(name)))

    def lines(self, name: str) -> Sequence[str]:
        """Return the lines of a file, without empty lines and comments. Raises WildcardError."""
        if name not in self._read:
            self._read[name] = self._lines(name)
        return self._read[name]

    def _lines(self, name: str) -> Sequence[str]:
        if not NAME.fullmatch(name):
            raise WildcardError(value=f"__{name}__", allowed=self._known())
        path = next((path for folder in reversed(self._folders) if (path := folder / f"{name}.txt").is_file()), None)
        if path is None:
            raise WildcardError(value=f"__{name}__", allowed=self._known())
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
        names = ", ".join(f"__{name}__" for name in self.names())
        return {"en": names or "none: there are no files", "zh": names or "无：没有任何文件"}
