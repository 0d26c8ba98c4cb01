"""A database that somebody else is busy with."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from core.errors import StorageError
from core.storage.database import Database
from core.storage.dialects import sqlite as sqlite_module


@pytest.fixture
def taken(tmp_path: Path) -> sqlite3.Connection:
    """Somebody who writes into a new database, not yet a WAL one: SQLite refuses the switch at once, without waiting."""
    other = sqlite3.connect(tmp_path / "studio.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_new_database_that_another_writes_into_is_waited_for(tmp_path: Path, taken: sqlite3.Connection) -> None:
    letting_go = threading.Timer(0.3, lambda: taken.execute("COMMIT"))
    letting_go.start()
    database = Database(tmp_path / "studio.db")
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()
    letting_go.join()
    taken.close()


def test_one_that_is_never_let_go_of_is_told(
    tmp_path: Path, taken: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_SECONDS", 0.1)
    with pytest.raises(StorageError, match="locked"):
        Database(tmp_path / "studio.db")
    taken.close()
