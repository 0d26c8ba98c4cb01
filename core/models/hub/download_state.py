"""Exchange the state of a download between its process and those who watch it, as small files beside the models.

<store>/.downloads/<model>.json   what the process last reported (written by it alone)
<store>/.downloads/<model>.pause  a request: its presence stops the process
<store>/.downloads/<model>.lock   held while a process works on the model
<store>/<model>.part/             what has arrived; renamed to <store>/<model> when all of it is there and checked
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from core.errors import DownloadError, StudioError
from core.i18n import localize
from core.types import Download

FOLDER = ".downloads"
PART = ".part"


@dataclass(frozen=True)
class DownloadRequest:
    """A download as one JSON line. It has no token; the process reads that itself."""

    model: str
    pipeline: str
    hub: str
    repository: str
    revision: str | None
    endpoint: str
    store: str
    owner_pid: int  # the process stops when this one is gone, and goes on at the next start
    part: str = ""  # of a model, when no whole model is fetched
    file: str = ""  # the only one wanted of a repository that is no folder of a pipeline
    typed: bool = True  # the address was typed on a page: it gets no token
    internal: bool = False  # the configuration allows it although it may lie in this network

    def to_line(self) -> str:
        """Return one line of ASCII."""
        return json.dumps(asdict(self)) + "\n"

    @staticmethod
    def from_line(line: str | bytes) -> DownloadRequest:
        """Parse the line of `to_line`."""
        return DownloadRequest(**json.loads(line))


class DownloadFiles:
    """The files of one model's download."""

    def __init__(self, store: Path, model: str) -> None:
        folder = store / FOLDER
        self._state, self._pause = folder / f"{model}.json", folder / f"{model}.pause"
        self._lock = FileLock(folder / f"{model}.lock")
        self.part = store / f"{model}{PART}"
        self.target = store / model

    def take(self) -> bool:
        """Lock the download for this process; return False when another has it."""
        try:
            self._state.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def give_back(self) -> None:
        """End being that process."""
        self._lock.release()

    @property
    def pause_wanted(self) -> bool:
        """Return True if a pause was requested."""
        return self._pause.exists()

    def want_pause(self, wanted: bool) -> None:
        """Ask the process to stop, or take that back."""
        if wanted:
            self._pause.parent.mkdir(parents=True, exist_ok=True)
            self._pause.touch()
        else:
            self._pause.unlink(missing_ok=True)

    def write(self, request: DownloadRequest, download: Download) -> None:
        """Put down how far it is; whole or not at all."""
        data = {
            "orders": asdict(request),
            "state": download.state,
            "done_bytes": download.done_bytes,
            "total_bytes": download.total_bytes,
            "speed": download.speed,
            "file": download.file,
            "attempt": download.attempt,
            "attempts": download.attempts,
            "error": download.error.to_dict() if download.error else None,
        }
        part = self._state.with_suffix(".tmp")
        self._state.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(data), encoding="utf-8")
        part.replace(self._state)

    def read(self) -> tuple[DownloadRequest, Download] | None:
        """Return the request and the last progress, or None without a download."""
        try:
            data: Mapping[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
            request = DownloadRequest(**data["orders"])
            error = StudioError.from_dict(data["error"]) if data["error"] else None
            return request, Download(
                request.model, request.hub, request.repository, data["state"], data["done_bytes"], data["total_bytes"],
                data["speed"], data["file"], error, data.get("attempt", 1), data.get("attempts", 0),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self) -> None:
        """Forget the download; what has arrived is the caller's affair."""
        for path in (self._state, self._pause):
            path.unlink(missing_ok=True)


HUB_NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
_PROBLEMS = {
    "network": localize("models.hub.errors.problems.network"),
    "socks": localize("models.hub.errors.problems.socks"),
    "busy": localize("models.hub.errors.problems.busy"),
    "gated": localize("models.hub.errors.problems.gated"),
    "missing": localize("models.hub.errors.problems.missing"),
    "answer": localize("models.hub.errors.problems.answer"),
    "checksum": localize("models.hub.errors.problems.checksum"),
    "safetensors": localize("models.hub.errors.problems.safetensors"),
    "disk": localize("models.hub.errors.problems.disk"),
    "offline": localize("models.hub.errors.problems.offline"),
    "source": localize("models.hub.errors.problems.source"),
    "address": localize("models.hub.errors.problems.address"),
    "mirror": localize("models.hub.errors.problems.mirror"),
    "private": localize("models.hub.errors.problems.private"),
    "ended": localize("models.hub.errors.problems.ended"),
}


def failure(model: str, hub: str, name: str, detail: object = "", variable: str = "") -> DownloadError:
    """Return the error of one of the problems above."""
    words = {lang: text.format(detail=detail, variable=variable) for lang, text in _PROBLEMS[name].items()}
    return DownloadError(model=model, source=HUB_NAMES.get(hub, hub), problem=words)
