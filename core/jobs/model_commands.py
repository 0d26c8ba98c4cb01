"""Commands from pages to the worker: load or unload a model, add or drain a worker. Small files in the output folder.

Files instead of rows: the worker, whichever app started it, checks with one system call, and a command that nobody
read is replaced by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import NotWritableError, StudioError
from core.jobs.job_writes import new_id

COMMAND, ANSWER, LAST = "model.command", "model.answer", "model.last"


@dataclass(frozen=True)
class ModelCommand:
    """Load a model with these options; without a model, unload."""

    model: str | None
    options: Mapping[str, Any]


class ModelCommands:
    """Hold one pending command; a later one replaces it."""

    def __init__(self, directory: Path) -> None:
        self._command, self._answer, self._last = directory / COMMAND, directory / ANSWER, directory / LAST

    def ask(self, command: ModelCommand) -> None:
        """Leave a command for the worker, and drop the answer to the previous one."""
        self._answer.unlink(missing_ok=True)
        write_command(self._command, {"model": command.model, "options": dict(command.options)})

    def take(self) -> ModelCommand | None:
        """Return the pending command and remove it."""
        if not self._command.exists():
            return None
        try:
            told = json.loads(self._command.read_text(encoding="utf-8"))
            return ModelCommand(told["model"], told["options"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        finally:
            self._command.unlink(missing_ok=True)

    @property
    def waiting(self) -> bool:
        """Return True while a command is pending."""
        return self._command.exists()

    def refuse(self, error: StudioError) -> None:
        """Store why a command failed."""
        write_command(self._answer, error.to_dict())

    def refusal(self) -> StudioError | None:
        """Return why the last command failed; None if it did not, or is pending."""
        try:
            return StudioError.from_dict(json.loads(self._answer.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, model: str) -> None:
        """Store the model that was loaded last."""
        if self.last() != model:
            write_command(self._last, {"model": model})

    def last(self) -> str | None:
        """Return the model that was loaded last, by this worker or an earlier one."""
        try:
            return str(json.loads(self._last.read_text(encoding="utf-8"))["model"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def write_command(path: Path, told: Mapping[str, Any]) -> None:
    """Write a command or an answer whole. NotWritableError when that fails."""
    part = path.with_suffix(path.suffix + ".tmp")
    try:
        part.write_text(json.dumps(told), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise NotWritableError(path=path) from error


Verb = Literal["add", "drain"]
PREFIX = "staff-"


class WorkerRequests:
    """Requests of pages for workers of a cluster; the dispatcher takes each once, in order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ask(self, verb: Verb, name: str) -> None:
        """Request to `add` a worker on a machine (its id) or `drain` a worker (its id). NotWritableError when that fails."""
        path = self._directory / f"{PREFIX}{new_id()}"
        part = path.with_suffix(".tmp")
        try:
            part.write_text(json.dumps([verb, name]), encoding="utf-8")
            part.replace(path.with_suffix(".command"))
        except OSError as error:
            raise NotWritableError(path=path) from error

    def take(self) -> list[tuple[Verb, str]]:
        """Return the pending requests and remove them."""
        commands = []
        for path in sorted(self._directory.glob(f"{PREFIX}*.command")):
            try:
                verb, name = json.loads(path.read_text(encoding="utf-8"))
                if verb in ("add", "drain"):
                    commands.append((verb, str(name)))
            except (OSError, ValueError, TypeError):
                continue
            finally:
                path.unlink(missing_ok=True)
        return commands
