"""Download one model in a process of its own; files that are complete are kept however it ends.

python -m core.models.hub.download_worker  < one JSON line of Orders

"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import psutil
import requests

from core.errors import ModelError, StudioError
from core.models.families import FAMILIES
from core.models.hub.download_state import DownloadFiles, DownloadRequest, failure
from core.models.hub.http_download import LONGEST_WAIT, MOST_FAILURES, Stopped, fetch, needed
from core.models.hub.hub_api import (
    VARIABLES,
    HubError,
    RemoteFile,
    Repository,
    guard_hugging_face,
    guard_session,
    list_repository,
    may_have_token,
    new_session,
    token_of,
)
from core.models.part_sources import check_part
from core.models.single_file import check_whole, itself
from core.models.validation import MANIFEST
from core.types import Download

REPORT_SECONDS = 0.4  # between two words on how far it is
LOOK_SECONDS = 0.2  # between two checks for a request to stop
SPEED_SECONDS = 6.0  # over which the speed is taken
SPARE = 64 << 20  # bytes that a disk must have left


class Downloader:
    """One download, from the list of files to the finished model folder."""

    def __init__(self, request: DownloadRequest, files: DownloadFiles, owner: psutil.Process | None) -> None:
        self._request, self._files, self._owner = request, files, owner
        self._now = Download(request.model, request.hub, request.repository, "listing", attempts=MOST_FAILURES)
        self._reported = self._looked = 0.0
        self._stop = False
        self._past: deque[tuple[float, int]] = deque()  # when, bytes then
        self._before = 0  # bytes of the files that are whole
        self._resumed = False

    def run(self) -> None:
        """Do it, and write how it ended."""
        try:
            self._fetch_all()
            self._say(state="done", done_bytes=self._now.total_bytes, speed=None, file="")
        except Stopped:
            self._say(state="paused" if self._files.pause_wanted else "interrupted", speed=None)
        except HubError as error:
            variable = VARIABLES[self._request.hub]
            self._fail(failure(self._request.model, self._request.hub, error.kind, error.detail, variable))
        except ModelError as error:
            self._fail(error)
        except StudioError as error:
            self._fail(error)
        except OSError as error:
            self._fail(failure(self._request.model, self._request.hub, "ended", error.strerror or type(error).__name__))

    def end(self) -> None:
        """Stop soon."""
        self._stop = True

    # -- the work --------------------------------------------------------------------------------------------------

    def _fetch_all(self) -> None:
        request = self._request
        self._say()
        session = new_session(request.hub, request.endpoint, self._token())
        if request.typed and not request.internal:
            guard_session(session)
            guard_hugging_face()
        repository = self._listed(session)
        wanted = needed(repository.files, FAMILIES[request.pipeline], request.file, bool(request.part))
        part = self._files.part
        self._keep_only(repository, wanted)
        total = sum(file.size for file in wanted)
        self._check_disk(total - sum(path.stat().st_size for path in part.rglob("*") if path.is_file()))
        self._say(state="running", total_bytes=total)
        for file in wanted:
            self._now = replace(self._now, file=file.path)
            fetch(session, file, part / file.path, self._tell, self._wait)
            self._before += file.size
        self._finish(repository, wanted)

    def _token(self) -> str | None:
        """Return the token of the hub, where the address may see it."""
        request = self._request
        if not may_have_token(request.endpoint, request.typed):
            return None
        return token_of(request.hub, Path(request.store))

    def _listed(self, session: requests.Session) -> Repository:
        request, failures = self._request, 0
        while True:
            try:
                return list_repository(
                    request.hub, request.repository, request.revision, request.endpoint, self._token(), session
                )
            except HubError as error:
                failures += 1
                if error.wait is None or failures >= MOST_FAILURES:
                    raise
                if self._wait(max(error.wait, min(LONGEST_WAIT, 0.5 * 2**failures))):
                    raise Stopped from None

    def _keep_only(self, repository: Repository, wanted: list[RemoteFile]) -> None:
        """Delete what arrived from another repository or revision."""
        part, origin = self._files.part, [self._request.repository, repository.revision]
        note = part / ".origin"
        if part.exists() and (not note.is_file() or json.loads(note.read_text(encoding="utf-8")) != origin):
            shutil.rmtree(part)
        part.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(origin), encoding="utf-8")

    def _check_disk(self, missing: int) -> None:
        if shutil.disk_usage(self._files.part).free < missing + SPARE:
            raise HubError("disk", f"{missing / 1e9:.1f} GB")

    def _finish(self, repository: Repository, wanted: list[RemoteFile]) -> None:
        """Check the whole folder as any other model's, and only then give it its name."""
        part, target = self._files.part, self._files.target
        self._say(state="checking", file="")
        manifest = {
            "hub": self._request.hub,
            "repository": self._request.repository,
            "revision": repository.revision,
            "files": {file.path: {"size": file.size, "sha256": file.sha256} for file in wanted},
        }
        (part / ".origin").unlink()
        if self._request.part:
            check_part(itself(part, self._request.file), self._request.part)
        else:
            check_whole(itself(part, self._request.file), self._request.model)
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if target.exists():  # a broken one, else nobody would have asked for this
            shutil.rmtree(target)
        part.replace(target)

    # -- what it says, and hears -----------------------------------------------------------------------------------

    def _tell(self, of_this_file: int, checking: bool) -> None:
        now, done = time.monotonic(), self._before + of_this_file
        if not checking:
            self._past.append((now, done))
        while len(self._past) > 2 and now - self._past[0][0] > SPEED_SECONDS:
            self._past.popleft()
        if now - self._reported >= REPORT_SECONDS:
            self._say(state="checking" if checking else "running", done_bytes=done, speed=self._speed(), attempt=1)

    def _speed(self) -> float | None:
        (first, bytes_then), (last, bytes_now) = self._past[0], self._past[-1]
        return (bytes_now - bytes_then) / (last - first) if last > first and bytes_now >= bytes_then else None

    def _say(self, **changes: object) -> None:
        self._now = replace(self._now, **changes)  # type: ignore[arg-type]
        self._reported = time.monotonic()
        self._files.write(self._request, self._now)

    def _fail(self, error: StudioError) -> None:
        self._say(state="failed", speed=None, error=error)

    def _wait(self, seconds: float) -> bool:
        """Sleep; True when it is time to stop. Looked for a few times a second, however small the chunks are."""
        until = time.monotonic() + seconds
        if seconds:  # before another try to reach the hub
            self._say(attempt=self._now.attempt + 1, speed=None)
        while True:
            now = time.monotonic()
            if now - self._looked >= LOOK_SECONDS or seconds:
                self._looked = now
                self._stop = self._stop or self._files.pause_wanted or not self._owned()
            if self._stop or now >= until:
                return self._stop
            time.sleep(min(LOOK_SECONDS, until - now))

    def _owned(self) -> bool:
        return self._owner is None or self._owner.is_running()


def main() -> int:
    """Read the request, take the lock, fetch. 0 also for a failure, which is written down; 75 when another is at it."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        request = DownloadRequest.from_line(stdin.readline())
    files = DownloadFiles(Path(request.store), request.model)
    if not files.take():
        return 75
    try:
        owner = psutil.Process(request.owner_pid) if request.owner_pid != os.getpid() else None
    except psutil.NoSuchProcess:
        return 0
    fetcher = Downloader(request, files, owner)
    signal.signal(signal.SIGTERM, lambda *_: fetcher.end())
    fetcher.run()
    files.give_back()
    return 0


if __name__ == "__main__":
    sys.exit(main())
