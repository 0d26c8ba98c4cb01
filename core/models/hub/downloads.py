"""Start, pause, resume and discard downloads, and remove downloaded models."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from core.config.loader import PROJECT_ROOT, Settings
from core.config.schema import AUTO
from core.errors import NotWritableError
from core.models.families import DEFAULT, FAMILIES
from core.models.hub import hub_api
from core.models.hub.download_state import FOLDER, DownloadFiles, DownloadRequest, failure
from core.models.hub.hub_api import HubError, endpoint_of, typed_mirror
from core.models.model_paths import hugging_face_cache, modelscope_caches, store_folder
from core.types import Download, ModelInfo

END_SECONDS = 10.0
LOG = "log.txt"


class Downloads:
    """All downloads into the models folder. Each has a process that reports through a file."""

    def __init__(self, store: Path, endpoints: Mapping[str, str], allowed_mirrors: Sequence[str] = ()) -> None:
        self._store = store
        self._endpoints = endpoints
        self._allowed = tuple(one if "://" in one else f"https://{one}" for one in allowed_mirrors)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def store(self) -> Path:
        """Return the models folder."""
        return self._store

    def all(self) -> Sequence[Download]:
        """Return every running, paused, failed and finished download."""
        names = sorted(path.stem for path in (self._store / FOLDER).glob("*.json"))
        return [download for name in names if (download := self.get(name)) is not None]

    def get(self, model: str) -> Download | None:
        """Return the download of one model, or None. One whose process is gone was interrupted."""
        files = DownloadFiles(self._store, model)
        stored = files.read()
        if stored is None:
            return None
        download = stored[1]
        if download.active and not self._lives(model):
            stored = files.read()  # it may have ended well meanwhile
            download = stored[1] if stored else download
            return replace(download, state="interrupted", speed=None) if download.active else download
        return download

    def start(self, info: ModelInfo, hub: str | None = None, endpoint: str | None = None) -> Download:
        """Fetch a catalogue entry. DownloadError when it has no such source, or its pipeline can't be used."""
        selected = hub or next(iter(info.sources), "")
        if selected not in info.sources:
            known = ", ".join(info.sources) or "-"
            raise failure(info.id, selected, "source", known)
        try:
            configured = endpoint_of(selected, self._endpoints.get(selected, AUTO))
            address = typed_mirror(endpoint, self._allowed) if endpoint else configured
        except HubError as error:
            raise failure(info.id, selected, error.kind, error.detail) from None
        request = DownloadRequest(
            model=info.id,
            pipeline=info.pipeline if info.pipeline in FAMILIES else DEFAULT.pipeline,
            hub=selected,
            repository=info.sources[selected],
            revision=info.revisions.get(selected),
            endpoint=address,
            store=str(self._store.resolve()),
            owner_pid=os.getpid(),
            file=info.file,
            typed=address != configured,
            internal=bool(endpoint) and address.lower() in {one.lower().rstrip("/") for one in self._allowed},
            part=info.part,
        )
        return self._begin(request)

    def resume(self, model: str) -> Download | None:
        """Resume a paused, interrupted or failed download."""
        stored = DownloadFiles(self._store, model).read()
        return self._begin(replace(stored[0], owner_pid=os.getpid())) if stored else None

    def resume_interrupted(self) -> None:
        """Resume downloads that the end of the last app interrupted."""
        for download in self.all():
            if download.state == "interrupted":
                self.resume(download.model)

    def pause(self, model: str) -> None:
        """Stop the process; what has arrived is kept."""
        files = DownloadFiles(self._store, model)
        files.want_pause(True)
        self._await_end(model)
        stored = files.read()
        if stored is not None and stored[1].active:  # it was killed before it could say so
            files.write(stored[0], replace(stored[1], state="paused", speed=None))

    def cancel(self, model: str) -> None:
        """Stop, and throw away what has arrived."""
        self.pause(model)
        files = DownloadFiles(self._store, model)
        shutil.rmtree(files.part, ignore_errors=True)
        files.remove()

    def stop(self) -> None:
        """Tell all download processes to end."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()

    def remove_files(self, info: ModelInfo) -> bool:
        """Delete what was fetched of a model, here or in a hub's cache. False when it is not the studio's to delete."""
        path = Path(info.path) if info.path else None
        if path is None or info.place not in ("store", "huggingface", "modelscope"):
            return False
        target = path if path.is_dir() else path.parent
        if info.place == "store":
            target = store_folder(self._store, info.id)
        if info.place == "huggingface":  # the whole repository: its snapshot alone is links
            target = hugging_face_cache() / f"models--{info.sources['huggingface'].replace('/', '--')}"
        roots = (self._store, hugging_face_cache(), *modelscope_caches())
        if not any(root.resolve() in target.resolve().parents for root in roots):
            return False
        try:
            shutil.rmtree(target)
        except OSError as error:
            raise NotWritableError(path=target) from error
        DownloadFiles(self._store, info.id).remove()
        return True

    def save_token(self, hub: str, token: str) -> None:
        """Keep it in a file of mode 0600 beside the models."""
        hub_api.save_token(hub, token, self._store)

    def has_token(self, hub: str) -> bool:
        """Return True if there is a token, in the environment or in the token file."""
        return hub_api.has_token(hub, self._store)

    # -- processes -------------------------------------------------------------------------------------------------

    def _begin(self, request: DownloadRequest) -> Download:
        files = DownloadFiles(self._store, request.model)
        waiting = Download(request.model, request.hub, request.repository, "listing")
        if self._lives(request.model):
            return self.get(request.model) or waiting
        files.want_pause(False)
        stored = files.read()
        if stored is not None:
            waiting = replace(waiting, done_bytes=stored[1].done_bytes, total_bytes=stored[1].total_bytes)
        try:
            files.write(request, waiting)
            with (self._store / FOLDER / LOG).open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "core.models.hub.download_worker"],
                    cwd=PROJECT_ROOT,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl+C is for the app: the process then ends because its owner is gone
                )
        except OSError as error:
            raise NotWritableError(path=self._store) from error
        assert process.stdin is not None
        process.stdin.write(request.to_line().encode("ascii"))
        process.stdin.close()
        self._processes[request.model] = process
        return waiting

    def _lives(self, model: str) -> bool:
        """Return whether a process works on it: ours by its handle, another app's by the lock."""
        ours = self._processes.get(model)
        if ours is not None and ours.poll() is None:
            return True
        files = DownloadFiles(self._store, model)
        if not files.take():
            return True
        files.give_back()
        return False

    def _await_end(self, model: str) -> None:
        until = time.monotonic() + END_SECONDS
        while self._lives(model) and time.monotonic() < until:
            time.sleep(0.05)
        ours = self._processes.get(model)
        if ours is not None and ours.poll() is None:
            ours.kill()
            ours.wait()


def downloads_of(settings: Settings, store: Path) -> Downloads:
    """Return the downloads with the mirrors and tokens of the settings."""
    endpoints = {"huggingface": settings.models.hf_endpoint, "modelscope": settings.models.modelscope_endpoint}
    return Downloads(store, endpoints, settings.models.allowed_mirrors)
