"""Whether anyone wrote to the database since the last look: what makes polling nearly free."""

from __future__ import annotations

from core.storage.database import Database


class ChangeWatch:
    """Asks the database for a mark that every commit of another connection changes. One thread asks at a time."""

    def __init__(self, database: Database) -> None:
        self._news = database.news()
        self._seen: object = None

    def changed(self) -> bool:
        """True the first time, and after each commit since the last call; some microseconds."""
        before, self._seen = self._seen, self._news.mark()
        return before != self._seen

    def close(self) -> None:
        """Give the file handle or connection back."""
        self._news.close()
