"""Live drafts between pages and the worker: a small image of what the form says now, drawn between two jobs and never stored.

Each client has one draft, a small file in the folder `drafts` of the output folder: the next one takes its place, and stops it
while it is drawn. Drafts are no jobs: they are in no queue, no history and no count.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.jobs.job_rows import new_id
from core.jobs.serialization import UnreadableRequest, read_request, write_request
from core.storage.files import write_atomically
from core.types import GenerationRequest

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
        if _read(path).get("id") == draft_id:
            path.unlink(missing_ok=True)

    def read(self, client: str, draft_id: str) -> DraftAnswer:
        """Return what became of a draft."""
        digest = _digest(client)
        made = _read(self._path(digest, MADE))
        if made.get("id") == draft_id:
            error = StudioError.from_dict(made["error"]) if made["error"] else None
            return DraftAnswer(DONE, base64.b64decode(made["image"]), error)
        asked = _read(self._path(digest, ASKED)).get("id")
        return DraftAnswer(WAITING if asked == draft_id else REPLACED)

    def take(self) -> DraftCommand | None:
        """Return the draft that has waited longest and is not drawn yet. It stays until it is answered."""
        waiting = [self._folder / name for name in self._names() if name.endswith(ASKED)]
        for path in sorted(waiting, key=_written_at):
            data = _read(path)
            try:
                return DraftCommand(data["id"], path.stem, read_request(json.dumps(data["request"])))
            except (KeyError, TypeError, UnreadableRequest):
                path.unlink(missing_ok=True)
        return None

    def is_wanted(self, command: DraftCommand) -> bool:
        """Return True while no later draft has taken its place and nobody has cancelled it."""
        return bool(_read(self._path(command.client, ASKED)).get("id") == command.id)

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


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
