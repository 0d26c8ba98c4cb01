"""What the studio asks of the worker besides jobs: load this model, unload it. As small files in the output folder.

A file and not a row: the worker, whichever app started it, looks with one call of the system, and a wish that nobody hears is
replaced by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import NotWritableError, StudioError

WISH, ANSWER, LAST = "model.wish", "model.answer", "model.last"


@dataclass(frozen=True)
class ModelCommand:
    """Have this model in memory with these options; no model: give its memory back."""

    model: str | None
    options: Mapping[str, Any]


class ModelCommands:
    """One wish at a time; a later one replaces it."""

    def __init__(self, directory: Path) -> None:
        self._wish, self._answer, self._last = directory / WISH, directory / ANSWER, directory / LAST

    def ask(self, wish: ModelCommand) -> None:
        """Leave a wish for the worker; the answer to the one before is done with."""
        self._answer.unlink(missing_ok=True)
        _write(self._wish, {"model": wish.model, "options": dict(wish.options)})

    def take(self) -> ModelCommand | None:
        """The wish that waits, once."""
        if not self._wish.exists():
            return None
        try:
            told = json.loads(self._wish.read_text(encoding="utf-8"))
            return ModelCommand(told["model"], told["options"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        finally:
            self._wish.unlink(missing_ok=True)

    @property
    def waiting(self) -> bool:
        """Whether a wish has not been heard yet."""
        return self._wish.exists()

    def refuse(self, error: StudioError) -> None:
        """Say why a wish could not be granted."""
        _write(self._answer, error.to_dict())

    def refusal(self) -> StudioError | None:
        """Why the last wish could not be granted; None when it could, or is still to be."""
        try:
            return StudioError.from_dict(json.loads(self._answer.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, model: str) -> None:
        """The model that was loaded last."""
        if self.last() != model:
            _write(self._last, {"model": model})

    def last(self) -> str | None:
        """The model that was loaded last, by this worker or one before it."""
        try:
            return str(json.loads(self._last.read_text(encoding="utf-8"))["model"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _write(path: Path, told: Mapping[str, Any]) -> None:
    part = path.with_suffix(path.suffix + ".tmp")
    try:
        part.write_text(json.dumps(told), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise NotWritableError(path=path) from error
