"""Send commands from pages to the worker: load or unload a model, write a prompt, add or drain a worker of a cluster.

Each is a small file in the output folder. The worker, whichever app started it, checks for one with a single system call
between two jobs; a model or prompt command that nobody has read is replaced by the next one.

A live draft is a command, too: a small image of what the form says now, made between two jobs and never stored. Each client has
one; the next takes its place, and stops it. Drafts are no jobs: they are in no queue, no history and no count.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import NotWritableError, StudioError
from core.jobs.job_rows import new_id
from core.jobs.serialization import UnreadableRequest, read_request, write_request
from core.storage.files import write_atomically
from core.types import GenerationRequest

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
        _write(self._command, {"model": command.model, "options": dict(command.options)})

    def take(self) -> ModelCommand | None:
        """Return the pending command and remove it."""
        if not self._command.exists():
            return None
        data = _read(self._command)
        self._command.unlink(missing_ok=True)
        try:
            return ModelCommand(data["model"], data["options"])
        except KeyError:
            return None

    @property
    def waiting(self) -> bool:
        """Return True while a command is pending."""
        return self._command.exists()

    def refuse(self, error: StudioError) -> None:
        """Store why a command failed."""
        _write(self._answer, error.to_dict())

    def refusal(self) -> StudioError | None:
        """Return why the last command failed; None if it did not, or is pending."""
        try:
            return StudioError.from_dict(json.loads(self._answer.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, model: str) -> None:
        """Store the model that was loaded last."""
        if self.last() != model:
            _write(self._last, {"model": model})

    def last(self) -> str | None:
        """Return the model that was loaded last, by this worker or an earlier one."""
        try:
            return str(json.loads(self._last.read_text(encoding="utf-8"))["model"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


Verb = Literal["add", "drain"]
PREFIX = "staff-"


class WorkerRequests:
    """Requests of pages for workers of a cluster; the dispatcher takes each once, in order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ask(self, verb: Verb, name: str) -> None:
        """Request to `add` a worker on a machine (its id), or to `drain` a worker (its id). Raises NotWritableError."""
        _write(self._directory / f"{PREFIX}{new_id()}.command", [verb, name])

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


PROMPT_COMMAND, PROMPT_ANSWER, PROMPT_CANCEL = "prompt.command", "prompt.answer", "prompt.cancel"


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
        self._command, self._answer, self._cancel = (
            directory / name for name in (PROMPT_COMMAND, PROMPT_ANSWER, PROMPT_CANCEL)
        )

    def ask(self, model: str, options: Mapping[str, Any], task: str, text: str, seed: int) -> str:
        """Leave a command for the worker; return its id. NotWritableError when that fails."""
        command = PromptCommand(new_id(), model, dict(options), task, text, seed)
        _write(self._command, asdict(command))
        return command.id

    def take(self) -> PromptCommand | None:
        """Return the pending command and remove it."""
        if not self._command.exists():
            return None
        data = _read(self._command)
        self._command.unlink(missing_ok=True)
        try:
            return PromptCommand(**data)
        except TypeError:
            return None

    def answer(self, command_id: str, answer: PromptAnswer) -> None:
        """Write what there is of an answer."""
        error = answer.error.to_dict() if answer.error is not None else None
        _write(self._answer, {"id": command_id, "text": answer.text, "done": answer.done, "error": error})

    def read(self, command_id: str) -> PromptAnswer:
        """Return the answer to a command so far; done and empty where another command has taken its place."""
        data = _read(self._answer)
        if data.get("id") == command_id:
            error = StudioError.from_dict(data["error"]) if data["error"] else None
            return PromptAnswer(data["text"], data["done"], error)
        pending = _read(self._command).get("id")
        return PromptAnswer(done=pending not in (None, command_id))

    def cancel(self, command_id: str) -> None:
        """Ask the worker to stop writing."""
        _write(self._cancel, {"id": command_id})
        if _read(self._command).get("id") == command_id:
            self._command.unlink(missing_ok=True)

    def is_cancelled(self, command_id: str) -> bool:
        """Return True once it was cancelled."""
        return self._cancel.exists() and _read(self._cancel).get("id") == command_id


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _write(path: Path, data: object) -> None:
    """Write a command or an answer whole. NotWritableError when that fails."""
    part = path.with_suffix(path.suffix + ".tmp")
    try:
        part.write_text(json.dumps(data), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise NotWritableError(path=path) from error


FOLDER = "drafts"
ASKED, MADE = ".asked", ".made"  # of the files of a client
WAITING, DONE, REPLACED = "waiting", "done", "replaced"


@dataclass(frozen=True)
class DraftCommand:
    """A draft that is wanted. `client` is a digest of who asked."""

    id: str
    client: str
    request: GenerationRequest


@dataclass(frozen=True)
class DraftAnswer:
    """What became of a draft: waiting, done (with the image as WebP, or the error), or replaced by a later one."""

    state: str
    image: bytes = b""
    error: StudioError | None = None


class DraftCommands:
    """Hold the latest draft of each client, and its answer."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER

    def ask(self, client: str, request: GenerationRequest) -> str:
        """Leave a draft for the worker in the place of the client's previous one; return its id. Raises StorageError."""
        draft_id = new_id()
        self._write(_digest(client), ASKED, {"id": draft_id, "request": write_request(request)})
        return draft_id

    def cancel(self, client: str, draft_id: str) -> None:
        """Stop a draft, if it is still the client's latest."""
        path = self._path(_digest(client), ASKED)
        if _read_draft(path).get("id") == draft_id:
            path.unlink(missing_ok=True)

    def read(self, client: str, draft_id: str) -> DraftAnswer:
        """Return what became of a draft."""
        digest = _digest(client)
        made = _read_draft(self._path(digest, MADE))
        if made.get("id") == draft_id:
            error = StudioError.from_dict(made["error"]) if made["error"] else None
            return DraftAnswer(DONE, base64.b64decode(made["image"]), error)
        asked = _read_draft(self._path(digest, ASKED)).get("id")
        return DraftAnswer(WAITING if asked == draft_id else REPLACED)

    def take(self) -> DraftCommand | None:
        """Return the draft that has waited longest and is not drawn yet. It stays until it is answered."""
        waiting = [self._folder / name for name in self._names() if name.endswith(ASKED)]
        for path in sorted(waiting, key=_written_at):
            data = _read_draft(path)
            try:
                return DraftCommand(data["id"], path.stem, read_request(json.dumps(data["request"])))
            except (KeyError, TypeError, UnreadableRequest):
                path.unlink(missing_ok=True)
        return None

    def is_wanted(self, command: DraftCommand) -> bool:
        """Return True while no later draft has taken its place and nobody has cancelled it."""
        return bool(_read_draft(self._path(command.client, ASKED)).get("id") == command.id)

    def answer(self, command: DraftCommand, image: bytes, error: StudioError | None) -> None:
        """Write the answer. A draft that has taken its place meanwhile stays."""
        words = error.to_dict() if error is not None else None
        self._write(command.client, MADE, {"id": command.id, "image": base64.b64encode(image).decode(), "error": words})
        if self.is_wanted(command):
            self._path(command.client, ASKED).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what an earlier worker left."""
        for name in self._names():
            with suppress(OSError):
                (self._folder / name).unlink()

    def _names(self) -> list[str]:
        """Return the files of the folder; a worker asks between any two jobs."""
        try:
            return os.listdir(self._folder)
        except OSError:
            return []

    def _path(self, digest: str, kind: str) -> Path:
        return self._folder / f"{digest}{kind}"

    def _write(self, digest: str, kind: str, data: Mapping[str, Any]) -> None:
        write_atomically(self._path(digest, kind), json.dumps(data).encode(), durable=False)


def _digest(client: str) -> str:
    return hashlib.sha256(client.encode()).hexdigest()[:32]


def _written_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # replaced or cancelled meanwhile
        return 0


def _read_draft(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
