"""Read and write whole files, atomically: the protocol `Files`, and `LocalFiles` for a folder."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from core.errors import DiskFullError, NotWritableError, StorageError

log = logging.getLogger(__name__)

TEMPORARY = ".tmp"  # ends the name of a file that is being written; such names also begin with a dot


@dataclass(frozen=True)
class Entry:
    """A file in a listing: its name, the seconds since it was written, and its bytes."""

    name: str
    age: Callable[[], float]
    size: Callable[[], int]


class Files(Protocol):
    """Files below one root, by names with forward slashes. For any number of threads and processes."""

    @property
    def local(self) -> Path:
        """Return the output folder of this machine, for what can be made again."""
        ...

    @property
    def is_shared(self) -> bool:
        """Return whether they are elsewhere than in this machine's output folder."""
        ...

    def shown(self, name: str) -> str:
        """Return the name of a file for errors."""
        ...

    def reaches(self, name: str) -> bool:
        """Return whether a file of this name could be there: it leads nowhere else, and its folder exists."""
        ...

    def write(self, name: str, data: bytes, durable: bool = True) -> None:
        """Write it whole; nothing is left when it raises StorageError. `durable`: it outlives a power cut from now on."""
        ...

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return the content. Raises OSError (FileNotFoundError; or for more than `most` bytes), or StorageError."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone already is fine. Raises StorageError."""
        ...

    def has(self, name: str) -> bool:
        """Return True where a file of this name exists."""
        ...

    def freshen(self, name: str) -> bool:
        """Let it count as written just now; False when it has to be written again for that."""
        ...

    def path(self, name: str) -> Path | None:
        """Return a file of this machine with its content, not to be changed; None when there is none of that name."""
        ...

    def forget_copy(self, name: str) -> None:
        """Discard this machine's copy of a changed file."""
        ...

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders in a folder, by default in the root; links are left out."""
        ...

    def entries(self, folder: str) -> Iterator[Entry]:
        """Return the files in a folder, in any order; links are left out."""
        ...

    def settle(self) -> None:
        """Make durable what was not written so."""
        ...


class LocalFiles:
    """The files below a folder. `local`: where else this machine keeps what is its own; by default in the same folder."""

    def __init__(self, root: Path, local: Path | None = None) -> None:
        self.root = root
        self.local = local or root

    @property
    def is_shared(self) -> bool:
        return self.local != self.root

    def shown(self, name: str) -> str:
        return str(self.root / name)

    def reaches(self, name: str) -> bool:
        path = inside(self.root, name)
        return path is not None and path.parent.is_dir()

    def write(self, name: str, data: bytes, durable: bool = True) -> None:
        write_atomically(self.root / name, data, durable)

    def read(self, name: str, most: int | None = None) -> bytes:
        path = self.root / name
        if most is not None and path.stat().st_size > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return path.read_bytes()

    def remove(self, name: str) -> None:
        path = inside(self.root, name)
        if path is not None:
            remove(path)

    def has(self, name: str) -> bool:
        path = inside(self.root, name)
        return path is not None and path.is_file()

    def freshen(self, name: str) -> bool:
        try:
            os.utime(self.root / name)
        except OSError:
            return False
        return True

    def path(self, name: str) -> Path | None:
        path = inside(self.root, name)
        return path if path is not None and path.is_file() else None

    def forget_copy(self, name: str) -> None:
        """Do nothing: there are no copies."""

    def folders(self, folder: str = "") -> list[str]:
        start = f"{folder}/" if folder else ""
        return [start + entry.name for entry in _scan(self.root / folder) if entry.is_dir(follow_symlinks=False)]

    def entries(self, folder: str) -> Iterator[Entry]:
        for entry in _scan(self.root / folder):
            if entry.is_file(follow_symlinks=False):
                yield Entry(f"{folder}/{entry.name}", partial(_age, entry), partial(_size, entry))

    def settle(self) -> None:
        if hasattr(os, "sync"):
            os.sync()


def files_of(place: Files | Path) -> Files:
    """Return the files of a place; a folder is wrapped."""
    return LocalFiles(place) if isinstance(place, Path) else place


def write_atomically(path: Path, data: bytes, durable: bool = True) -> None:
    """Write `data` to `path`, and leave nothing when it raises; `durable`: a power cut after this returns loses nothing.

    Raises DiskFullError, NotWritableError or StorageError.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as handle:
                handle.write(data)
                handle.flush()
                if durable:
                    os.fsync(handle.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        try:
            if durable:
                _sync_folder(path.parent)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise storage_error(error, path.parent) from error


def remove(path: Path) -> None:
    """Remove a file; one that is gone already is fine. Raises NotWritableError or StorageError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def inside(directory: Path, relative: str) -> Path | None:
    """Return the file that `relative` names below `directory`, or None where it leads out, by `..`, a root or a link."""
    try:
        root = directory.resolve()
        path = (root / relative).resolve()
    except (OSError, ValueError):  # a loop of links; a NUL
        return None
    return path if path.is_relative_to(root) and path != root else None


def is_temporary(name: str) -> bool:
    """Return whether `write_atomically` made this name for a file on its way."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def storage_error(error: OSError, path: Path) -> StorageError:
    """Return the error for a user, with the message of the system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(path=path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotWritableError(path=path)
    return StorageError(path=path, detail=error.strerror or error)


def _age(entry: os.DirEntry[str]) -> float:
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime
    except OSError:  # removed meanwhile
        return 0.0


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:  # removed meanwhile
        return 0


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s cannot be read: %s", folder, error)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable. Windows cannot open folders and does it by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
