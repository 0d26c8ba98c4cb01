"""The tables as declared are the tables that the migrations make."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, insert, text
from sqlalchemy.schema import CreateIndex

from core.config.loader import PROJECT_ROOT
from core.errors import NewerDatabaseError
from core.history.record_codec import generated_record, image_record, image_row, new_id
from core.history.store import History
from core.jobs.queue import JobQueue
from core.storage import database as database_module
from core.storage.database import Database
from core.storage.dialects import sqlite
from core.storage.image_writer import StoredFile
from core.storage.tables import TEXTS, metadata
from core.types import Annotations, HistoryQuery
from tests.unit.storage.conftest import a1111_image, build_image

NOW = datetime(2026, 3, 1, tzinfo=UTC)


LINE = "ix_jobs_line"  # Alembic can't compare an index that descends; its use is asserted below


@pytest.mark.all_databases
def test_tables_equal_migrations(database: Database) -> None:
    with database.reading() as connection:
        own = {"compare_type": True, "include_name": lambda name, kind, _: not (kind == "table" and TEXTS in name)}
        options = {**own, "include_object": lambda thing, name, *_: TEXTS not in (name or "") and name != LINE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


@pytest.mark.all_databases
def test_declared_and_migrated_indexes_of_the_line_are_the_same(database: Database) -> None:
    (declared,) = (index for table in metadata.tables.values() for index in table.indexes if index.name == LINE)
    with database.reading() as connection:
        sqlite = connection.dialect.name == "sqlite"
        kept = (
            "SELECT sql FROM sqlite_master WHERE name = :n"
            if sqlite
            else "SELECT indexdef FROM pg_indexes WHERE indexname = :n"
        )
        made = str(connection.scalar(text(kept), {"n": LINE}))
        wanted = str(CreateIndex(declared).compile(dialect=connection.dialect))
    columns = made.rpartition("(")[2].replace('"', "")
    assert columns == wanted.rpartition("(")[2].replace('"', "") and "priority DESC" in columns


def test_the_next_job_is_read_from_the_index_of_the_line_without_sorting(tmp_path: Path) -> None:
    database, seen = Database(tmp_path / "studio.db"), []
    event.listen(
        database._engine, "before_cursor_execute", lambda _c, _u, words, given, *_: seen.append((words, given))
    )
    JobQueue(database).has_waiting()
    words, given = next(one for one in seen if "ORDER BY" in one[0])
    with database.reading() as connection:
        plan = " ".join(row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}", given))
    assert LINE in plan and "TEMP B-TREE" not in plan, plan
    database.close()


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


STORED = sorted((Path(__file__).parent / "stored").glob("*.db.gz"))  # made by the program of that time
PROMPTS = ["红色的房子，日落", "a red house at sunset", "100% 雪山 =1+1"]
LOVED = Annotations(rating=4, favourite=True, note="给墙上的", tags=("best", "雪"), collections=("2026",))


def test_there_is_a_stored_database_of_every_earlier_version() -> None:
    versions = Path(database_module.__file__).parent / "migrations" / "versions"
    known = sorted(path.name[:4] for path in versions.glob("[0-9]*.py"))
    assert [path.name[:4] for path in STORED][: len(known)] == known[: len(STORED)] and len(STORED) >= len(known) - 1


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name[:4])
def test_a_stored_database_keeps_all_that_is_in_it(tmp_path: Path, stored: Path) -> None:
    version, path = stored.name[:4], tmp_path / "studio.db"
    path.write_bytes(gzip.decompress(stored.read_bytes()))
    database = Database(path)
    history = History(database, tmp_path)
    everything = history.search(HistoryQuery(descending=False)).records
    trash = history.search(HistoryQuery(trashed=True)).records
    assert sorted(record.request.prompt for record in everything + trash) == sorted(PROMPTS)
    for query in (HistoryQuery(text="房子"), HistoryQuery(options={"vae.enable_tiling": True}), HistoryQuery(seed=7)):
        assert [record.request.prompt for record in history.search(query).records] == PROMPTS[:1], query
    assert [record.request.negative_prompt for record in everything][:2] == ["", "rain, 雨"]
    waiting = JobQueue(database).active(10)
    assert [(job.request.prompt, job.request.seed) for job in waiting] == [(f"waits {k}", k) for k in range(3)]
    if version >= "0003":
        assert everything[0].marks == LOVED and [record.request.prompt for record in trash] == PROMPTS[2:]
    else:
        assert all(record.marks == Annotations() for record in everything) and trash == ()
    database.close()
    assert_backed_up(path, version)


def assert_backed_up(path: Path, version: str) -> None:
    """What was there before is beside it, whole; a database of the present version needs none."""
    kept = path.with_name(f"studio.db.{version}.backup")
    with closing(sqlite3.connect(path)) as present:
        (now,) = present.execute("SELECT version_num FROM alembic_version").fetchone()
    assert kept.exists() == (now != version)
    if kept.exists():
        with closing(sqlite3.connect(kept)) as backup:
            assert backup.execute("SELECT version_num FROM alembic_version").fetchall() == [(version,)]
            assert {prompt for (prompt,) in backup.execute("SELECT prompt FROM images")} == set(PROMPTS)
            assert backup.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_copies_of_the_last_three_versions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    for stored in STORED:
        path.write_bytes(gzip.decompress(stored.read_bytes()))
        Database(path).close()
    (tmp_path / "studio.db.rebuild.backup").touch()
    wanted = [f"studio.db.{stored.name[:4]}.backup" for stored in STORED if stored.name[:4] != database_module.HEAD][
        -3:
    ]
    assert sorted(file.name for file in tmp_path.glob("*.backup")) == [*wanted, "studio.db.rebuild.backup"]


def test_a_copy_with_more_images_is_kept(tmp_path: Path) -> None:
    database = Database(tmp_path / "studio.db")
    for images in (2, 1):
        with database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM images")
            for number in range(images):
                name = f"{number}.png"
                image = image_record(
                    generated_record(build_image(), new_id(NOW), None, NOW), StoredFile(name, "png", (8, 8), 1)
                )
                connection.execute(insert(metadata.tables["images"]).values(image_row(image)))
        with database.reading() as connection:
            database.back_up(connection, "0006", replace=True)
    with database.reading() as connection:
        assert database.backed_up_images(connection, "0006") == 1
    (older,) = tmp_path.glob("studio.db.0006_*.backup")
    with closing(sqlite3.connect(older)) as copy:
        assert copy.execute("SELECT count(*) FROM images").fetchone() == (2,)
    database.close()


def test_the_database_before_an_upgrade_can_be_put_back(tmp_path: Path) -> None:
    """As docs/upgrading.md says: rows are as they were, and an image made since then is found again by its file."""
    stored = [one for one in STORED if one.name[:4] != database_module.HEAD][-1]
    path, before = tmp_path / "studio.db", gzip.decompress(stored.read_bytes())
    path.write_bytes(before)
    database = Database(path)
    made = History(database, tmp_path).commit(History(database, tmp_path).prepare(build_image(seed=99), None))
    database.close()
    for name in ("studio.db", "studio.db-wal", "studio.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / f"studio.db.{stored.name[:4]}.backup", path)
    (tmp_path / "original.db").write_bytes(before)
    with closing(sqlite3.connect(path)) as there, closing(sqlite3.connect(tmp_path / "original.db")) as original:
        assert list(there.iterdump()) == list(original.iterdump())
    database = Database(path)
    history = History(database, tmp_path)
    history.reconcile()
    assert history.get(made.id).request.seed == 99
    database.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of it: SQLite's tables are made and dropped within the one transaction."""
    path = tmp_path / "studio.db"
    path.write_bytes(gzip.decompress(STORED[0].read_bytes()))
    with monkeypatch.context() as broken:
        broken.setattr(sqlite, "spaced", lambda text: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Database(path)
    with closing(sqlite3.connect(path)) as there:
        assert there.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        assert there.execute("SELECT count(*) FROM images").fetchall() == [(3,)]
    database = Database(path)
    assert History(database, tmp_path).search(HistoryQuery(text="房子")).total == 1
    database.close()


def test_a_job_that_the_update_interrupts_keeps_the_places_of_its_images(
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
        image = build_image(seed=seed)
        data = generated_record(image, new_id(NOW), job_id, NOW)
        row = {**image_row(image_record(data, StoredFile(f"2026-03-01/{seed}.png", "png", (64, 64), 10))), "missing": 0}
        del row["place"]
        row["guidance_scale"] = row.pop("cfg_scale") - 1
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO images ({names}) VALUES ({marks})", list(row.values()))
    connection.commit()
    connection.close()
    database = Database(path)
    history = History(database, tmp_path)
    assert history.places_of("job") == {1, 3} and history.places_of("bad") == frozenset()
    database.close()


def test_a_database_of_a_newer_program_is_left_as_it_is_and_told_of(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    Database(path).close()
    with closing(sqlite3.connect(path)) as there:
        there.execute("UPDATE alembic_version SET version_num = '9999'")
        there.commit()
    before = path.read_bytes()
    with pytest.raises(NewerDatabaseError) as told:
        Database(path)
    assert all(word in told.value.message("en") for word in (str(path), "9999", database_module.HEAD))
    assert path.read_bytes() == before and not list(tmp_path.glob("*.backup"))


def test_a_database_that_is_up_to_date_is_opened_without_what_brings_one_up_to_date(tmp_path: Path) -> None:
    """Every worker opens one, and Alembic takes a quarter of the time in which it starts."""
    path = tmp_path / "studio.db"
    Database(path).close()
    code = (
        "import sys; from pathlib import Path; from core.storage.database import Database; "
        f"Database(Path({str(path)!r})).close(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.call([sys.executable, "-c", code], cwd=PROJECT_ROOT) == 0


def test_imported_images_of_before_get_their_program(tmp_path: Path) -> None:
    database = Database(tmp_path / "studio.db")
    history = History(database, tmp_path)
    history.add(build_image(), None)
    record, _ = history.import_image(a1111_image(), "a.png")
    database.close()
    with closing(sqlite3.connect(tmp_path / "studio.db")) as earlier:  # as version 0008 left it
        earlier.execute("DELETE FROM image_labels")
        earlier.execute(f"DROP INDEX {LINE}")
        for table in ("hidden_collections", "difference_studies"):
            earlier.execute(f"DROP TABLE {table}")
        earlier.execute("UPDATE alembic_version SET version_num = '0008'")
        earlier.commit()
    database = Database(tmp_path / "studio.db")
    found = History(database, tmp_path).search(HistoryQuery(imported=True)).records
    assert [one.id for one in found] == [record.id]
    database.close()
