"""The tables as declared are the tables that the migrations make."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from core.storage import database as database_module
from core.storage.database import Database
from core.storage.history import History
from core.storage.images import StoredFile
from core.storage.records import image_record, image_row, new_id, picture_record
from core.storage.tables import TEXTS, metadata
from core.types import HistoryQuery

from .conftest import build_picture

NOW = datetime(2026, 3, 1, tzinfo=UTC)


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


def test_a_database_of_the_first_version_keeps_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "studio.db"
    with monkeypatch.context() as earlier:
        earlier.setattr(database_module, "HEAD", "0001")
        Database(path).close()
    picture = build_picture(prompt="红色的房子", options={"vae.enable_tiling": True})
    data = picture_record(picture, new_id(NOW), "job", NOW)
    record = image_record(data, StoredFile("2026-03-01/a.png", "png", (64, 64), 10))
    connection = sqlite3.connect(path)
    row = {**image_row(record), "missing": 0}
    del row["place"]
    connection.execute(
        f"INSERT INTO images ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values())
    )
    connection.execute("INSERT INTO image_records VALUES (?, ?)", (record.id, json.dumps(data)))
    connection.commit()
    connection.close()
    database = Database(path)
    history = History(database, tmp_path)
    for query in (
        HistoryQuery(text="房子"),
        HistoryQuery(options={"vae.enable_tiling": True}),
        HistoryQuery(model="demo"),
    ):
        assert history.search(query).records == (record,)
    database.close()
    backup = sqlite3.connect(path.with_name("studio.db.0001.backup"))
    assert backup.execute("SELECT prompt FROM images").fetchall() == [("红色的房子",)]
    backup.close()


def test_a_job_that_the_update_interrupts_keeps_the_places_of_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "studio.db"
    with monkeypatch.context() as earlier:
        earlier.setattr(database_module, "HEAD", "0003")
        Database(path).close()
    connection = sqlite3.connect(path)
    for job_id, request in (("job", '{"prompt": "a", "seed": 40}'), ("bad", "{broken")):
        connection.execute(
            "INSERT INTO jobs (id, state, request, cancel_requested, created_at) VALUES (?, 'queued', ?, 0, '')",
            (job_id, request),
        )
    for seed, job_id in ((42, "job"), (40, "job"), (7, "bad"), (8, None)):
        picture = build_picture(seed=seed)
        data = picture_record(picture, new_id(NOW), job_id, NOW)
        row = {**image_row(image_record(data, StoredFile(f"2026-03-01/{seed}.png", "png", (64, 64), 10))), "missing": 0}
        del row["place"]
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO images ({names}) VALUES ({marks})", list(row.values()))
    connection.commit()
    connection.close()
    database = Database(path)
    history = History(database, tmp_path)
    assert history.places_of("job") == {1, 3} and history.places_of("bad") == frozenset()
    database.close()
