"""Files that are there whole or not at all.

What this module does not know: what is in them.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from core.errors import DiskFullError, NotWritableError, StorageError

TEMPORARY = ".tmp"  # ends the name of a file that is being written; such names also begin with a dot


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
    """The file that `relative` names below `directory`, or None where it leads out, by `..`, a root or a link."""
    try:
        root = directory.resolve()
        path = (root / relative).resolve()
    except (OSError, ValueError):  # a loop of links; a NUL
        return None
    return path if path.is_relative_to(root) and path != root else None


def is_temporary(name: str) -> bool:
    """Whether `write_atomically` made this name for a file on its way."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def storage_error(error: OSError, path: Path) -> StorageError:
    """The error that says to a user what the system said to us."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(path=path)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotWritableError(path=path)
    return StorageError(path=path, detail=error.strerror or error)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable. Windows cannot open folders and does it by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
