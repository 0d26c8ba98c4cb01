"""Download one file to the disk: resume after an interruption, verify the checksum, and only then rename it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import requests
import urllib3

from core.models.families.base import Family
from core.models.hub.hub_api import TIMEOUT, HubError, RemoteFile, status_error
from core.models.validation import VARIANTS, is_variant
from core.models.weight_files import SAFETENSORS

PART = ".incomplete"
CHUNK = 256 * 1024  # bytes; also how often a request to stop is checked
MOST_FAILURES = 6  # in a row, without a byte between them
LONGEST_WAIT = 60.0  # seconds between two tries, unless the hub names more

Tell = Callable[[int, bool], None]  # bytes of this file that are here; whether they are being checked
Wait = Callable[[float], bool]  # sleep this long; True when it is time to stop


class Stopped(Exception):
    """The download was asked to stop; the received part is kept."""


def fetch(session: requests.Session, file: RemoteFile, target: Path, tell: Tell, wait: Wait) -> None:
    """Have `target`, whole and checked. HubError when that can't be; Stopped when `wait` says so. Both keep what is good."""
    if target.is_file() and target.stat().st_size == file.size:
        return tell(file.size, False)
    part = target.with_name(target.name + PART)
    part.parent.mkdir(parents=True, exist_ok=True)
    failures = wrong = 0
    while True:
        before = _size(part)
        try:
            if before < file.size or file.size == 0:
                _receive(session, file, part, tell, wait)
            if _is_right(file, part, tell, wait):
                part.replace(target)
                return tell(file.size, False)
            part.unlink()
            wrong += 1
            if wrong == 2:
                raise HubError("checksum", file.path)
        except HubError as error:
            failures = 1 if _size(part) > before else failures + 1
            if error.wait is None or failures >= MOST_FAILURES:
                raise
            if wait(max(error.wait, min(LONGEST_WAIT, 0.5 * 2**failures))):
                raise Stopped from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _receive(session: requests.Session, file: RemoteFile, part: Path, tell: Tell, wait: Wait) -> None:
    """Append to `part` until it has the file's size; a server that knows no ranges gives it anew. HubError when it was cut."""
    offset = _size(part)
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        with session.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # the file has changed, or the part never was of it
                part.unlink(missing_ok=True)
                raise HubError("network", 416, wait=0.0)
            if answer.status_code not in (200, 206):
                raise status_error(answer.status_code, answer.headers, file.path)
            goes_on = answer.status_code == 206 and _begins_at(answer, offset)
            with part.open("ab" if goes_on else "wb") as opened:
                while chunk := answer.raw.read1(CHUNK):  # what there is: iter_content loses a chunk that is cut
                    opened.write(chunk)
                    tell(opened.tell(), False)
                    if wait(0.0):
                        raise Stopped
                    if opened.tell() > file.size:
                        break  # more than was announced: the check will throw it away
                opened.flush()
                os.fsync(opened.fileno())
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise HubError("network", type(error).__name__, wait=0.0) from None
    if _size(part) < file.size:
        raise HubError("network", f"{_size(part)} / {file.size}", wait=0.0)


def _begins_at(answer: requests.Response, offset: int) -> bool:
    """Return whether the answer is the range that was asked for."""
    return answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _is_right(file: RemoteFile, part: Path, tell: Tell, wait: Wait) -> bool:
    """By size, and by the checksum that the hub gave: of the content, or git's of a small file."""
    if _size(part) != file.size:
        return False
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    announced = file.sha256 or file.git
    if announced is None:
        return True
    with part.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
            tell(file.size, True)
            if wait(0.0):
                raise Stopped
    return digest.hexdigest() == announced


INDEX = "model_index.json"
CONFIG = "config.json"
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")  # one plain name: no folders, nothing hidden
_SMALL = (".json", ".txt", ".model", ".jinja")  # configurations and tokenizers


def needed(files: Sequence[RemoteFile], family: Family, only: str = "", is_part: bool = False) -> list[RemoteFile]:
    """Return the files to download, small ones first. Raises HubError when a part has no safetensors.

    Of the repository of one part, such as a ControlNet, its configuration and weights; `only` names the one file that is wanted.
    """
    if only:
        return _named(files, only)
    if (family.plain or is_part) and not any(file.path == INDEX for file in files):
        return _network(files)
    by_part = {part: _of_part(files, part) for part in family.parts}
    index = [file for file in files if file.path == INDEX]
    if not index:
        raise HubError("missing", INDEX)
    small = [file for part in by_part.values() for file in part if file.path.endswith(_SMALL) and not _is_index(file)]
    weights = _weights({part: by_part[part] for part in family.weighty})
    return [*index, *small, *sorted(weights, key=lambda file: file.size)]


def _named(files: Sequence[RemoteFile], name: str) -> list[RemoteFile]:
    found = [file for file in files if file.path == name]
    if not found:
        raise HubError("missing", name)
    return found


def _network(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Return the parts of a folder that is one part itself."""
    config = _named(files, CONFIG)
    return [*config, *_weights({"": [file for file in files if _NAME.fullmatch(file.path)]})]


def _of_part(files: Sequence[RemoteFile], part: str) -> list[RemoteFile]:
    start = f"{part}/"
    return [file for file in files if file.path.startswith(start) and _NAME.fullmatch(file.path.removeprefix(start))]


def _weights(by_part: dict[str, list[RemoteFile]]) -> list[RemoteFile]:
    """Of the first variant that all parts have: the loader opens one variant for all."""
    for variant in VARIANTS:
        selected = {part: [file for file in files if _is_weight(file, variant)] for part, files in by_part.items()}
        if all(any(file.path.endswith(SAFETENSORS) for file in files) for files in selected.values()):
            return [file for files in selected.values() for file in files]
    plain = {part for part, files in by_part.items() if not any(_is_weight(file, "") for file in files)}
    raise HubError("safetensors", ", ".join(sorted(plain)) or "one variant")


def _is_index(file: RemoteFile) -> bool:
    return ".index." in file.path


def _is_weight(file: RemoteFile, variant: str) -> bool:
    name = file.path.rsplit("/", 1)[-1]
    return (name.endswith(SAFETENSORS) or (_is_index(file) and SAFETENSORS in name)) and is_variant(name, variant)
