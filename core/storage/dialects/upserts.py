"""Insert rows that may exist already. Both databases use the same clause, each with its own `insert`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def upsert(connection: Connection, table: Table, row: Mapping[str, Any], *key: str) -> None:
    """Insert `row`, or put its values into the row with the same columns `key`."""
    values = dict(row)
    connection.execute(_insert(connection, table, values).on_conflict_do_update(index_elements=key, set_=values))


def insert_if_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert `row` unless one with a unique value of it is there."""
    connection.execute(_insert(connection, table, dict(row)).on_conflict_do_nothing())


def _insert(connection: Connection, table: Table, values: dict[str, Any]) -> sqlite.Insert | postgresql.Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).values(values)
    # Imported here: it takes a tenth of the time in which a worker starts, and is for those who have a server.
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table).values(values)
