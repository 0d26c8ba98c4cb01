"""The studio's database, brought up to date by numbered migrations when it is opened: a SQLite file, or a server.

What this module does not know: what the rows mean, how the two differ (see `dialects`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, InternalError, OperationalError

from core.errors import NotWritableError
from core.storage.dialects import News, home_of

HEAD = "head"  # the version that a database is brought up to
_REFUSED = (OperationalError, DataError, InternalError)


class Database:
    """The engine over one file or one server. Open it once a process; any thread may read and write.

    Raises OptionError or UnavailableError for a URL that can't be used here, StorageError when it can't be opened.
    """

    def __init__(self, where: Path | str) -> None:
        self._home = home_of(where)
        try:
            self._engine = self._home.engine()
            self._migrate()
        except OSError as error:
            raise NotWritableError(path=Path(self._home.name).parent) from error

    @property
    def name(self) -> str:
        """What to call it in errors and pages; never a password."""
        return self._home.name

    @property
    def is_shared(self) -> bool:
        """Whether other machines can reach it."""
        return self._home.is_shared

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.writing() as connection:
            version = MigrationContext.configure(connection).get_current_revision()
            if version is not None and version != ScriptDirectory.from_config(config).get_current_head():
                self._home.back_up(connection, version)
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A snapshot that never waits for writers."""
        try:
            with self._home.reading(self._engine) as connection:
                yield connection
        except _REFUSED as error:
            raise self._home.error(error) from error

    @contextmanager
    def writing(self, part: str = "") -> Iterator[Connection]:
        """One transaction that takes the write lock at once, so that what it reads stays true until it commits.

        `part` names all that it touches (a job, a worker, a new picture): a server lets others write elsewhere meanwhile.
        """
        try:
            with self._home.writing(self._engine, part) as connection:
                yield connection
        except _REFUSED as error:
            raise self._home.error(error) from error

    def back_up(self, connection: Connection, version: str) -> None:
        """Keep the database as it is, whole or not at all, under the name of `version`. Raises StorageError."""
        self._home.back_up(connection, version)

    def news(self) -> News:
        """What tells whether anyone wrote since the last look. For one thread."""
        return self._home.news()

    def close(self) -> None:
        """Give the file handles or connections back."""
        self._engine.dispose()


def now() -> str:
    """The present instant as the tables store it."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """An aware datetime as the tables store it: UTC, always 32 characters, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def moment(text_: str | None) -> datetime | None:
    """The aware datetime that `stamp` wrote."""
    return datetime.fromisoformat(text_) if text_ else None
