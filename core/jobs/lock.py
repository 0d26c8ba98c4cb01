"""An exclusive lock on a file, held until the process ends, however it ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # lockf, not flock: children that we fork do not hold it on


class FolderLock:
    """Open the file, try once; the lock lives as long as this object."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def take(self) -> bool:
        """True when the lock is ours, False when another process has it."""
        try:
            _try_lock(self._file)
        except OSError:
            return False
        return True
