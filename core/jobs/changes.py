"""Whether anyone wrote to the database since the last look: what makes polling nearly free.

What this module does not know: tables.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path


class ChangeWatch:
    """Asks SQLite for its `data_version`, which every commit of another connection changes. For one thread."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._seen = -1

    def changed(self) -> bool:
        """True the first time, and after each commit since the last call; some microseconds."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        before, self._seen = self._seen, version
        return bool(before != version)

    def close(self) -> None:
        """Give the file handle back."""
        self._connection.close()
