"""The queue as all pages see it: read once for everyone who looks, and again only when somebody wrote to the database."""

from __future__ import annotations

import threading
from collections.abc import Callable

from core.jobs.changes import ChangeWatch
from core.types import QueueSnapshot


class QueueCache:
    """Keeps the last board that `read` gave. Thread-safe; the database is opened at the first look."""

    def __init__(self, watch: Callable[[], ChangeWatch], read: Callable[[], QueueSnapshot]) -> None:
        self._watch = watch
        self._read = read
        self._changes: ChangeWatch | None = None
        self._kept: QueueSnapshot | None = None
        self._guard = threading.Lock()

    def look(self) -> QueueSnapshot:
        """The board as it is now; the same object as long as nothing was written."""
        with self._guard:
            if self._changes is None:
                self._changes = self._watch()
            if self._changes.changed():
                self._kept = None
            if self._kept is None:  # also when the last reading failed
                self._kept = self._read()
            return self._kept
