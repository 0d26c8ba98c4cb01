"""The tables as declared are the tables that the migrations make."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from core.storage.database import Database
from core.storage.tables import TEXTS, metadata


def test_tables_equal_migrations(database: Database) -> None:
    with database.reading() as connection:
        options = {"compare_type": True, "include_name": lambda name, kind, _: not (kind == "table" and TEXTS in name)}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    def schema() -> list[tuple[str]]:
        connection = sqlite3.connect(tmp_path / "studio.db")
        found = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
        connection.close()
        return found

    Database(tmp_path / "studio.db").close()
    before = schema()
    Database(tmp_path / "studio.db").close()
    assert schema() == before and len(before) > 5
