"""A history moved to a server and back: everything arrives, or nothing, and it says so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from core.cli.main import main
from core.errors import MoveError
from core.history.store import History
from core.history.sweeps import SweepStore
from core.jobs.queue import JobQueue
from core.jobs.worker_registry import WorkerRegistry
from core.storage import database_copy
from core.storage.database import Database
from core.storage.tables import images, previews
from core.types import AnnotationChange, Axis, GenerationRequest, HistoryQuery, JobState, SubmitOptions, WorkerStatus
from tests.postgres import Server
from tests.unit.storage.test_storage_search import fill

TABLES = [table.name for table in database_copy.TABLES]


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


def full(database: Database, folder: Path, make_image: Any) -> History:
    """Something of everything, and what only SQLite takes."""
    history, queue = History(database, folder), JobQueue(database)
    fill(database, range(30))
    record = history.add(make_image(prompt="红色的房子 \ud800", options={"x": float("nan")}), "job")
    history.change(
        [record.id], AnnotationChange(rating=4, note="雪\0", add_tags=("best", "雪"), add_collections=("2026",))
    )
    history.trash([history.add(make_image(seed=9), None).id])
    queue.submit(GenerationRequest(prompt="a\0b \udfff", seed=1), SubmitOptions(client="c", key="k", key_digest="d"))
    batch = GenerationRequest(prompt="a", seed=1, num_images=2, images=({}, {"prompt": "b"}))
    broken = queue.submit(batch).id
    queue.pause(True)
    SweepStore(database, folder).add(record.id, [Axis("generation.seed", (1, 2))], [broken])
    with database.writing() as connection:
        connection.execute(insert(previews), {"job_id": broken, "image": b"x"})
        connection.exec_driver_sql("UPDATE jobs SET progress = '{broken' WHERE id = ?", (broken,))
    return history


def everything(history: History, database: Database) -> list[Any]:
    queue = JobQueue(database)
    queries = (HistoryQuery(limit=100), HistoryQuery(trashed=True), HistoryQuery(text="房子"), HistoryQuery(tag="雪"))
    return [*(history.search(query) for query in queries), queue.active(9), queue.is_paused(), history.labels("tag")]


def test_there_and_back_again(make_image: Any, url: str, tmp_path: Path) -> None:
    first, server, last = Database(tmp_path / "a.db"), Database(url), Database(tmp_path / "b.db")
    before = everything(full(first, tmp_path, make_image), first)
    there = database_copy.move(first, server)
    assert [table.table for table in there] == TABLES
    assert {table.table: table.rows for table in there}["images"] == 32
    assert everything(History(server, tmp_path), server) == before
    assert database_copy.move(server, last) == there
    assert everything(History(last, tmp_path), last) == before
    new = History(server, tmp_path).add(make_image(), None)  # numbers go on after those that came
    assert JobQueue(server).submit(GenerationRequest(prompt="a", seed=1)).state is JobState.QUEUED
    assert History(server, tmp_path).get(new.id) == new
    for database in (first, server, last):
        database.close()


def test_a_target_that_is_not_empty_is_left_alone(make_image: Any, url: str, tmp_path: Path) -> None:
    source, target = Database(tmp_path / "a.db"), Database(url)
    History(source, tmp_path).add(make_image(), None)
    JobQueue(target).submit(GenerationRequest(prompt="a", seed=1))
    with pytest.raises(MoveError, match="1 row in jobs already"):
        database_copy.move(source, target)
    assert History(target, tmp_path).search(HistoryQuery()).total == 0
    source.close()
    target.close()


def test_what_does_not_arrive_as_it_was_is_noticed_and_nothing_stays(
    make_image: Any, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = Database(tmp_path / "a.db"), Database(url)
    History(source, tmp_path).add(make_image(), None)
    real = database_copy._move_words

    def also_spoil(connection: Any) -> None:
        real(connection)
        connection.execute(update(images).values(seed=images.c.seed + 1))

    monkeypatch.setattr(database_copy, "_move_words", also_spoil)
    with pytest.raises(MoveError, match=r"the rows differ.*images: 1 / 1"):
        database_copy.move(source, target)
    monkeypatch.undo()
    assert History(target, tmp_path).search(HistoryQuery()).total == 0
    assert {table.table: table.rows for table in database_copy.move(source, target)}["images"] == 1
    source.close()
    target.close()


def test_the_command_moves_and_says_what_to_change(
    make_image: Any, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZDARKROOM_OUTPUT__DIRECTORY", str(tmp_path))
    database = Database(tmp_path / "studio.db")
    History(database, tmp_path).add(make_image(prompt="红色的房子"), None)
    assert main(["history", "move", "--to", url, "--lang", "en"]) == 0
    said = capsys.readouterr().out
    assert "images: 1  sha256 " in said and f'set storage.database to "{url}"' in said
    assert main(["history", "move", "--to", url, "--lang", "en"]) == 2  # it is not empty any more
    monkeypatch.setenv("ZDARKROOM_STORAGE__DATABASE", url)
    assert main(["history", "move", "--to", url, "--lang", "zh"]) == 2
    assert main(["history", "move", "--to", str(tmp_path / "back.db"), "--lang", "zh"]) == 0
    with closing(sqlite3.connect(tmp_path / "back.db")) as back:
        assert back.execute("SELECT prompt FROM images").fetchall() == [("红色的房子",)]
    assert main(["history", "move"]) == 2 and main(["history", "check", "--to", "x"]) == 2
    database.close()


def test_nothing_is_moved_under_a_worker_at_work(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZDARKROOM_OUTPUT__DIRECTORY", str(tmp_path))
    database = Database(tmp_path / "studio.db")
    WorkerRegistry(database).write("w", WorkerStatus("idle", 1, updated_at=None), 0)  # this process lives
    assert main(["history", "move", "--to", url]) == 2
    WorkerRegistry(database).remove("w")
    assert main(["history", "move", "--to", url]) == 0
    database.close()
