"""Where a database is, and how its SQL is said: all that differs between SQLite and PostgreSQL.

Each has one module here: its `Home` (opening, transactions, errors, copies, news) and its `Wording` (SQL that only it says
so). Everything else of the studio knows tables, not databases.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from core.storage.dialects.contract import Home, News, Wording
from core.storage.dialects.sqlite import SqliteFile, SqliteWording
from core.storage.dialects.upserts import insert_if_new, upsert

__all__ = ["Home", "News", "Wording", "home_of", "insert_if_new", "upsert", "wording_of"]

_SQLITE: Wording = SqliteWording()


def home_of(where: Path | str) -> Home:
    """A file, or the server that a `postgresql://` URL names. Raises OptionError for a URL that can't be used."""
    if isinstance(where, Path):
        return SqliteFile(where)
    from core.storage.dialects.server import PostgresServer

    return PostgresServer(where)


def wording_of(connection: Connection) -> Wording:
    """How the database of this connection says it."""
    if connection.dialect.name == "sqlite":
        return _SQLITE
    from core.storage.dialects.postgresql import PostgresWording

    return PostgresWording()
