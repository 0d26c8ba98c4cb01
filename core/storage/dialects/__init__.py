"""Select the database backend and its SQL: all that differs between SQLite and PostgreSQL.

Each has one module here: its `Backend` (opening, transactions, errors, copies, news) and its `Dialect` (SQL that only it says
so). Everything else of the studio knows tables, not databases.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from core.storage.dialects.contract import Backend, ChangeToken, Dialect, insert_if_new, upsert
from core.storage.dialects.sqlite import SqliteBackend, SqliteDialect

__all__ = ["Backend", "ChangeToken", "Dialect", "backend_of", "dialect_of", "insert_if_new", "upsert"]

_SQLITE: Dialect = SqliteDialect()


def backend_of(where: Path | str) -> Backend:
    """Return the backend for a file or a `postgresql://` URL. Raises OptionError for a URL that can't be used."""
    if isinstance(where, Path):
        return SqliteBackend(where)
    from core.storage.dialects.server import PostgresBackend

    return PostgresBackend(where)


def dialect_of(connection: Connection) -> Dialect:
    """Return the dialect of this connection."""
    if connection.dialect.name == "sqlite":
        return _SQLITE
    from core.storage.dialects.postgresql import PostgresDialect

    return PostgresDialect()
