"""Ask the worker to write a prompt with the text encoder that is loaded, and read its answer as it grows.

Small files in the output folder, like the commands for models: the worker takes one between two jobs, a later one replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.jobs.job_writes import new_id
from core.jobs.model_commands import write_command

COMMAND, ANSWER, CANCEL = "prompt.command", "prompt.answer", "prompt.cancel"


@dataclass(frozen=True)
class PromptCommand:
    """Write a prompt of `text` with the text encoder of a model. `task`: enhance or translate."""

    id: str
    model: str
    options: Mapping[str, Any]
    task: str
    text: str
    seed: int


@dataclass(frozen=True)
class PromptAnswer:
    """What there is of the new prompt; `error` says why there is none."""

    text: str = ""
    done: bool = False
    error: StudioError | None = None


class PromptCommands:
    """Hold one command and its answer."""

    def __init__(self, directory: Path) -> None:
        self._command, self._answer, self._cancel = (directory / name for name in (COMMAND, ANSWER, CANCEL))

    def ask(self, model: str, options: Mapping[str, Any], task: str, text: str, seed: int) -> str:
        """Leave a command for the worker; return its id. NotWritableError when that fails."""
        command = PromptCommand(new_id(), model, dict(options), task, text, seed)
        write_command(self._command, asdict(command))
        return command.id

    def take(self) -> PromptCommand | None:
        """Return the pending command and remove it."""
        if not self._command.exists():
            return None
        told = _read(self._command)
        self._command.unlink(missing_ok=True)
        try:
            return PromptCommand(**told)
        except TypeError:
            return None

    def answer(self, command_id: str, answer: PromptAnswer) -> None:
        """Write what there is of an answer."""
        error = answer.error.to_dict() if answer.error is not None else None
        write_command(self._answer, {"id": command_id, "text": answer.text, "done": answer.done, "error": error})

    def read(self, command_id: str) -> PromptAnswer:
        """Return the answer to a command so far; done and empty where another command has taken its place."""
        told = _read(self._answer)
        if told.get("id") == command_id:
            error = StudioError.from_dict(told["error"]) if told["error"] else None
            return PromptAnswer(told["text"], told["done"], error)
        pending = _read(self._command).get("id")
        return PromptAnswer(done=pending not in (None, command_id))

    def cancel(self, command_id: str) -> None:
        """Ask the worker to stop writing."""
        write_command(self._cancel, {"id": command_id})
        if _read(self._command).get("id") == command_id:
            self._command.unlink(missing_ok=True)

    def is_cancelled(self, command_id: str) -> bool:
        """Return True once it was cancelled."""
        return self._cancel.exists() and _read(self._cancel).get("id") == command_id


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
