"""The history over a real database and real files: add, read, delete, thumbnails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import update

from core.errors import DiskFullError, NotFoundError, StorageError
from core.history import store as history_module
from core.history.record_codec import new_id, requested
from core.history.store import History
from core.storage.database import Database
from core.storage.infotext import read_infotext
from core.storage.metadata import read_metadata
from core.storage.tables import images
from core.types import HistoryQuery

FilesBelow = Callable[[Path], list[str]]
UNKNOWN = "f" * 32


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_what_was_added_is_read_back(make_image: Any, history: History, outputs: Path, format: str) -> None:
    image = make_image(
        (100, 70), prompt="红色的房子\n日落 👩‍🚀", negative_prompt="雨", options={"output.format": format}
    )
    record = history.add(image, "job1")
    assert history.get(record.id) == record
    assert history.search(HistoryQuery()).records == (record,)
    assert record.request == image.request
    assert (record.width, record.height, record.rendered_size) == (100, 70, (112, 80))
    assert (record.timings, record.effective, record.decisions) == (
        image.timings,
        image.effective,
        image.decisions,
    )
    assert (record.job_id, record.format, record.peak_memory_bytes) == ("job1", format, 123_456_789)
    assert datetime.now(UTC) - record.created_at < timedelta(minutes=1)
    assert history.file(record.id) == (outputs / record.file).resolve()
    assert record.bytes == history.file(record.id).stat().st_size


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_the_file_tells_everything(make_image: Any, history: History, format: str) -> None:
    record = history.add(make_image((100, 70), prompt="红", seed=5, options={"output.format": format}), "job1")
    metadata = read_metadata(history.file(record.id))
    assert metadata is not None and metadata.record is not None and metadata.parameters is not None
    read = read_infotext(metadata.parameters)
    assert (read.prompt, read.fields["Seed"], read.fields["Size"]) == ("红", "5", "100x70")
    assert metadata.record["version"] == 1
    assert metadata.record["id"] == record.id
    assert metadata.record["requested"] == requested(record.request)
    assert metadata.record["resolved"]["versions"] == {"torch": "2.13.0"}
    assert metadata.record["decisions"][0]["reason"] == {"en": "a CPU", "zh": "处理器"}
    assert metadata.record["size"] == {"rendered": [112, 80], "delivered": [100, 70]}
    assert metadata.record["timings"] == {"text": 0.25, "steps": 1.5, "decode": 0.125}


@pytest.mark.parametrize(
    "prompt", ["a\0b", "a\ud83db", "\udc00", "a\r\nb\x0b\x7f", "‏بيت أحمر", "Negative prompt: x\ny"]
)
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_any_prompt_can_be_stored_and_found(make_image: Any, history: History, prompt: str, format: str) -> None:
    record = history.add(make_image(prompt=prompt, options={"output.format": format}), None)
    assert history.get(record.id).request.prompt == prompt
    assert history.search(HistoryQuery(text=prompt)).total == 1


def test_values_that_json_does_not_have_do_not_lose_the_image(make_image: Any, history: History) -> None:
    image = replace(
        make_image(), effective={"nan": float("nan"), "path": Path("a"), "set": (1,)}, timings={"x": float("inf")}
    )
    with pytest.raises(StorageError):  # a time must be a number
        history.add(replace(image, timings={"x": "long"}), None)
    assert history.add(image, None).effective == {"nan": "nan", "path": "a", "set": [1]}


def test_ids_are_in_the_order_of_time_and_never_meet() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    ids = [new_id(start + timedelta(milliseconds=k)) for k in range(100)]
    assert ids == sorted(ids) and len({new_id(start) for _ in range(1000)}) == 1000


def test_a_row_that_cannot_be_written_takes_its_file_with_it(
    make_image: Any, history: History, outputs: Path, files_below: FilesBelow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as planted, pytest.raises(StorageError, match="planted"):
        planted.setattr(history_module.image_rows, "put", fail)
        history.add(make_image(), None)
    assert files_below(outputs) == []
    assert history.search(HistoryQuery()).total == 0
    history.add(make_image(), None)
    assert len(files_below(outputs)) == 1


FAILING = {
    "sqlite": ("CREATE TRIGGER no BEFORE INSERT ON image_records BEGIN SELECT RAISE(ABORT, 'no'); END",),
    "postgresql": (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$",
        "CREATE TRIGGER no BEFORE INSERT ON image_records FOR EACH ROW EXECUTE FUNCTION no()",
    ),
}


@pytest.mark.all_databases
def test_a_real_failing_row_takes_its_file_with_it(
    make_image: Any, database: Database, history: History, outputs: Path, files_below: FilesBelow, dialect: str
) -> None:
    with database.writing() as connection:
        for statement in FAILING[dialect]:
            connection.exec_driver_sql(statement)
    with pytest.raises(StorageError):
        history.add(make_image(), None)
    assert files_below(outputs) == []
    assert history.search(HistoryQuery()).total == 0


def test_a_full_disk_of_the_database_takes_the_file_back(
    make_image: Any, tiny_disk: Path, outputs: Path, files_below: FilesBelow
) -> None:
    database = Database(tiny_disk / "studio.db")
    history = History(database, outputs)
    first = history.add(make_image(), None)
    filler = tiny_disk / "filler"
    with pytest.raises(OSError, match="space"), filler.open("wb", buffering=0) as handle:
        while True:
            handle.write(bytes(512))
    with pytest.raises(DiskFullError):
        for _ in range(100):  # the write-ahead log may have a little room left
            history.add(make_image(prompt="long " * 1000), None)
    assert len(files_below(outputs)) == history.search(HistoryQuery()).total
    filler.unlink()
    second = history.add(make_image(), None)
    assert {first.id, second.id} <= {record.id for record in history.search(HistoryQuery()).records}
    database.close()


def test_delete_removes_row_file_and_thumbnail(
    make_image: Any, history: History, outputs: Path, files_below: FilesBelow
) -> None:
    kept, record = history.add(make_image(), None), history.add(make_image(), None)
    history.thumbnail(record.id)
    history.delete(record.id)
    assert files_below(outputs) == [kept.file]
    for verb in (history.get, history.file, history.thumbnail, history.delete):
        with pytest.raises(NotFoundError):
            verb(record.id)
    assert [found.id for found in history.search(HistoryQuery()).records] == [kept.id]


def test_delete_of_a_image_whose_file_is_gone(make_image: Any, history: History) -> None:
    record = history.add(make_image(), None)
    history.file(record.id).unlink()
    with pytest.raises(NotFoundError):
        history.file(record.id)
    history.delete(record.id)
    assert history.search(HistoryQuery()).total == 0


@pytest.mark.parametrize("bad", [UNKNOWN, "", "../../etc/passwd", "a\0", "\ud800", "F" * 32])
def test_unknown_ids(history: History, bad: str) -> None:
    for verb in (history.get, history.file, history.thumbnail, history.delete):
        with pytest.raises(NotFoundError):
            verb(bad)


def test_a_path_from_the_database_never_leads_out(
    make_image: Any, database: Database, history: History, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.png"
    Image.new("RGB", (8, 8)).save(outside)
    for path in ("../outside.png", str(outside)):
        record = history.add(make_image(), None)
        with database.writing() as connection:
            connection.execute(update(images).where(images.c.id == record.id).values(file=path))
        for verb in (history.file, history.thumbnail):
            with pytest.raises(NotFoundError):
                verb(record.id)
        history.delete(record.id)
        assert outside.exists()


@pytest.mark.parametrize("size", [(1000, 701), (64, 2048), (70, 64)])
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_thumbnails_fit_256_pixels(
    make_image: Any, history: History, outputs: Path, size: tuple[int, int], format: str
) -> None:
    record = history.add(make_image(size, prompt="secret", options={"output.format": format}), None)
    path = history.thumbnail(record.id)
    assert path == outputs / "thumbnails" / record.id[-2:] / f"{record.id}.webp"
    with Image.open(path) as image:
        image.load()
        assert image.format == "WEBP" and image.size[0] <= 256 and image.size[1] <= 256
        assert max(image.size) == min(256, max(size))
        assert abs(image.size[0] / image.size[1] - size[0] / size[1]) < 0.02
    assert b"secret" not in path.read_bytes()


def test_a_thumbnail_is_made_once_and_again_when_missing(make_image: Any, history: History) -> None:
    record = history.add(make_image(), None)
    first = history.thumbnail(record.id).stat()
    assert history.thumbnail(record.id).stat().st_ino == first.st_ino
    history.thumbnail(record.id).unlink()
    assert history.thumbnail(record.id).is_file()


def test_a_damaged_image_has_no_thumbnail(make_image: Any, history: History) -> None:
    record = history.add(make_image((128, 128), noise=True), None)
    history.file(record.id).write_bytes(history.file(record.id).read_bytes()[:2000])
    with pytest.raises(StorageError, match="cannot be read"):
        history.thumbnail(record.id)


def test_many_threads_at_once(make_image: Any, history: History, outputs: Path, files_below: FilesBelow) -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                history.thumbnail(history.add(make_image(), None).id)
                history.search(HistoryQuery())
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert history.search(HistoryQuery()).total == 40
    assert len(files_below(outputs)) == 80  # as many thumbnails, and no temporary file
