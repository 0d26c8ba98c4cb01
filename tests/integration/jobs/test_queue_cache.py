"""The board that all open pages look at: it costs no question to the tables while nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from core.errors import StorageError
from core.jobs.queue import JobQueue
from core.storage.database import Database
from core.types import GenerationRequest, Phase, Progress

REQUEST = GenerationRequest(prompt="a", seed=1, num_inference_steps=4)


@contextmanager
def statements(folder: Path) -> Iterator[list[str]]:
    """What is asked of the database in this folder inside the block; workers of other tests may be at work on theirs."""
    asked: list[str] = []

    def note(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
        if connection.engine.url.database == str(folder / "studio.db"):
            asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[JobQueue, JobQueue]]:
    """The same queue as the app's process and the worker's see it."""
    databases = [Database(tmp_path / "studio.db") for _ in range(2)]
    yield JobQueue(databases[0]), JobQueue(databases[1])
    for database in databases:
        database.close()


def test_an_idle_look_asks_nothing_and_a_change_is_read_once_for_all(
    two: tuple[JobQueue, JobQueue], tmp_path: Path
) -> None:
    page, worker = two
    job_id = page.submit(REQUEST).id
    first = page.snapshot()
    with statements(tmp_path) as asked, ThreadPoolExecutor(10) as tabs:
        looks = list(tabs.map(lambda _: page.snapshot(), range(100)))
    assert asked == [] and all(look is first for look in looks)
    worker.claim("w")
    worker.report(job_id, Progress(Phase.STEPS, 2, 4))
    with statements(tmp_path) as asked, ThreadPoolExecutor(10) as tabs:
        looks = list(tabs.map(lambda _: page.snapshot(), range(100)))
    selects = [statement for statement in asked if statement.lstrip().startswith("SELECT")]
    assert len(selects) == 4, "paused, newest, the jobs, their images: once, not a hundred times"
    assert all(look is looks[0] for look in looks) and looks[0].jobs[0].progress == Progress(Phase.STEPS, 2, 4)


def test_the_board_is_what_the_queue_says(two: tuple[JobQueue, JobQueue]) -> None:
    page, worker = two
    assert page.snapshot().jobs == () and page.snapshot().newest == 0
    ids = [page.submit(REQUEST).id for _ in range(3)]
    worker.claim("w")
    page.move(ids[2], 1)
    page.pause(True)
    board = page.snapshot()
    assert board.jobs == tuple(page.active(10)) and [job.id for job in board.jobs] == [ids[0], ids[2], ids[1]]
    assert board.paused and board.newest == 3


def test_a_reading_that_failed_is_tried_again(two: tuple[JobQueue, JobQueue], monkeypatch: pytest.MonkeyPatch) -> None:
    page, _ = two
    page.submit(REQUEST)
    with monkeypatch.context() as broken:
        broken.setattr(page._cache, "_read", lambda: (_ for _ in ()).throw(StorageError(path="x", detail="y")))
        with pytest.raises(StorageError):
            page.snapshot()
    assert len(page.snapshot().jobs) == 1
