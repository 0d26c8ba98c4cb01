"""Remember what was read of weight files for as long as they stay as they are: facts of headers, and hashes.

A folder of a thousand LoRAs is then listed without opening one of them, also after a restart.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = 1 << 20  # bytes
IMAGES = (".webp", ".png", ".jpg", ".jpeg", ".preview.png", ".preview.webp", ".preview.jpg", ".preview.jpeg")


@dataclass(frozen=True)
class Found:
    """A file of a folder. `state` changes when the file does; `image` is an image of the same name beside it.

    `linked`: it is a link that leads out of the folder.
    """

    path: Path
    bytes: int
    state: str
    image: Path | None
    linked: bool = False


def scan(folder: Path, endings: tuple[str, ...]) -> list[Found]:
    """Return the files below a folder with one of these endings, by path; hidden ones and links to folders are left out."""
    return sorted(_scan(folder, folder, endings), key=lambda found: found.path)


def _scan(folder: Path, root: Path, endings: tuple[str, ...]) -> Iterator[Found]:
    try:
        with os.scandir(folder) as opened:
            entries = {entry.name: entry for entry in opened if not entry.name.startswith(".")}
    except OSError:
        return
    for name, entry in entries.items():
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _scan(Path(entry.path), root, endings)
            elif name.lower().endswith(endings) and entry.is_file():
                stat = entry.stat()
                stem = name.rpartition(".")[0]
                beside = [entries[stem + end] for end in IMAGES if stem + end in entries]
                image = next((Path(one.path) for one in beside if one.is_file() and not _leads_out(one, root)), None)
                yield Found(
                    Path(entry.path),
                    stat.st_size,
                    f"{stat.st_size} {stat.st_mtime_ns}",
                    image,
                    _leads_out(entry, root),
                )
        except OSError:  # it went away meanwhile
            continue


def _leads_out(entry: os.DirEntry[str], root: Path) -> bool:
    return entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(root.resolve())


def state_of_file(path: Path) -> str:
    """Return size (bytes) and modification time (ns) of a file as text. Raises OSError."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


class FileCache:
    """Values by file in a JSON file, each valid while its file is unchanged. Rebuilt if it can't be written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: tuple[str, dict[str, Any]] = ("", {})  # the JSON file's own state, and what it holds
        self._new: dict[str, Any] = {}

    def get(self, path: Path, state: str) -> Any:
        """Return the value that was kept for the file as it is now, or None."""
        kept = self._new.get(str(path)) or self._kept().get(str(path))
        return kept[1] if isinstance(kept, list) and len(kept) == 2 and kept[0] == state else None

    def put(self, path: Path, state: str, value: Any) -> None:
        """Keep a value; `flush` writes it."""
        self._new[str(path)] = [state, value]

    def flush(self) -> None:
        """Write what is new, and forget files that are gone."""
        if not self._new:
            return
        kept = {name: value for name, value in {**self._kept(), **self._new}.items() if os.path.exists(name)}
        temporary = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(kept), encoding="utf-8")
            temporary.replace(self._file)
            self._new = {}
        except OSError:
            return

    def _kept(self) -> dict[str, Any]:
        try:
            state = state_of_file(self._file)
            if state != self._read[0]:
                data = json.loads(self._file.read_text(encoding="utf-8"))
                self._read = (state, data if isinstance(data, dict) else {})
        except (OSError, ValueError, RecursionError):
            return {}
        return self._read[1]


def hashes(path: Path) -> tuple[str, str]:
    """Return the SHA-256 of a whole file, and of what follows its safetensors header; the file is read once."""
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
        whole.update(length + header)
        while block := file.read(BLOCK):
            whole.update(block)
            tensors.update(block)
    return whole.hexdigest(), tensors.hexdigest()
