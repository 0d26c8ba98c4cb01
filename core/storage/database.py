"""One SQLite database in WAL mode, brought up to date by numbered migrations when it is opened.

What this module does not know: what the rows mean.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import OperationalError

from core.errors import DiskFullError, NotWritableError, StorageError

HEAD = "head"  # the version that a database is brought up to
BUSY_SECONDS = 30  # how long a writer waits for another one
SWITCH_SECONDS = 0.02  # between two tries to make a new database a WAL one


class Database:
    """The engine over one file. Open it once a process; `reading()` and `writing()` give connections to any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
            event.listen(self._engine, "connect", _prepare)
            event.listen(self._engine, "begin", _begin)
            self._migrate()
        except OSError as error:
            raise NotWritableError(path=path.parent) from error

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.writing() as connection:
            version = MigrationContext.configure(connection).get_current_revision()
            if version is not None and version != ScriptDirectory.from_config(config).get_current_head():
                self.back_up(version)
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A snapshot that never waits for writers."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that takes the write lock at once, so that what it reads stays true until it commits."""
        try:
            with self._engine.connect().execution_options(immediate=True) as connection, connection.begin():
                yield connection
        except OperationalError as error:
            raise _storage_error(error, self.path) from error

    def back_up(self, version: str) -> None:
        """Keep the database as it is, whole or not at all, as studio.db.<version>.backup. Raises StorageError."""
        target = self.path.with_name(f"{self.path.name}.{version}.backup")
        half = target.with_name(f".{target.name}.tmp")
        try:
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(half)) as copy:
                source.backup(copy)
            os.replace(half, target)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(path=target, detail=error) from error

    def close(self) -> None:
        """Give the file handles back."""
        self._engine.dispose()


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Of several processes that open a new database at once, SQLite refuses all but one at once, whatever the timeout
    says: two that wait for each other's read locks would wait for ever. So we let go and try again."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(SWITCH_SECONDS)


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _storage_error(error: OperationalError, path: Path) -> StorageError:
    words = str(error.orig)
    if "full" in words:
        return DiskFullError(path=path)
    if "readonly" in words or "unable to open" in words:
        return NotWritableError(path=path)
    return StorageError(path=path, detail=words)


def now() -> str:
    """The present instant as the tables store it."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """An aware datetime as the tables store it: UTC, always 32 characters, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def moment(text_: str | None) -> datetime | None:
    """The aware datetime that `stamp` wrote."""
    return datetime.fromisoformat(text_) if text_ else None
