"""Images from elsewhere become part of the history, whole, once, and outlive the database."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import delete

from core.errors import DiskFullError, ImportFileError, StorageError
from core.history import image_rows
from core.history.image_quality import compare_images, heat_map
from core.history.record_codec import beside
from core.history.store import History
from core.storage.database import Database
from core.storage.dialects import dialect_of
from core.storage.tables import images
from core.types import Difference, HistoryQuery
from tests.unit.storage.test_storage_readers import A1111, NEGATIVE, PROMPT, other, png

MADE = datetime(2025, 5, 6, 7, 8, 9, tzinfo=UTC)
FilesBelow = Callable[[Path], list[str]]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_an_image_of_another_program(history: History, database: Database, format: str) -> None:
    texts = {"parameters": A1111}
    data = (png(texts) if format == "PNG" else other(format, texts)).getvalue()
    record, new = history.import_image(data, "../../etc/passwd", MADE)
    assert new and history.file(record.id).read_bytes() == data
    request = record.request
    assert (request.prompt, request.negative_prompt, request.model) == (PROMPT, NEGATIVE, "some-xl")
    assert (request.num_inference_steps, request.cfg_scale, request.seed) == (20, 4.5, 77)
    assert (request.width, request.height) == (64, 48)  # of the file, not what is said in it
    assert record.created_at == MADE
    assert request.options == {"generation.sampler": "euler_ancestral", "generation.schedule": "karras"}
    assert history.search(HistoryQuery(text="房子")).total == 1
    with database.writing() as connection:
        connection.execute(delete(images))
        dialect_of(connection).clear_words(connection)
    assert history.reconcile().adopted == (record.id,)
    assert history.get(record.id) == record


def test_the_same_file_is_taken_in_once(history: History) -> None:
    data = png({"parameters": A1111}).getvalue()
    first, _ = history.import_image(data, "a", MADE)
    assert history.import_image(data, "b", MADE) == (first, False)


def test_one_of_our_own_keeps_its_record(make_image: Any, history: History, tmp_path: Path) -> None:
    elsewhere = History(Database(tmp_path / "other.db"), tmp_path / "other")
    record = elsewhere.add(make_image(prompt="红"), "job")
    data = elsewhere.file(record.id).read_bytes()
    taken, _ = history.import_image(data, "x", MADE)
    assert (taken.id, taken.request, taken.created_at) == (record.id, record.request, record.created_at)
    assert elsewhere.import_image(data, "x", MADE) == (record, False)
    history.trash([taken.id])
    assert history.import_image(data + b"\0", "x", MADE)[0].id != record.id  # another file with the same id


@pytest.mark.parametrize("data", [b"", b"text", png({}).getvalue()[:60], b"GIF89a"])
def test_what_is_no_image_is_refused(history: History, outputs: Path, files_below: FilesBelow, data: bytes) -> None:
    with pytest.raises(ImportFileError, match="some name"):
        history.import_image(data, "some name", MADE)
    assert files_below(outputs) == []


def test_another_kind_of_image_is_refused(history: History) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "BMP")
    with pytest.raises(ImportFileError):
        history.import_image(buffer.getvalue(), "a.png", MADE)


def test_a_row_that_cannot_be_written_takes_all_files_with_it(
    history: History, outputs: Path, files_below: FilesBelow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageError(path="x", detail="planted")

    monkeypatch.setattr(image_rows, "put", fail)
    with pytest.raises(StorageError, match="planted"):
        history.import_image(png({"parameters": A1111}).getvalue(), "a", MADE)
    assert files_below(outputs) == []


def test_deleting_takes_the_record_beside_it(history: History, outputs: Path, files_below: FilesBelow) -> None:
    record, _ = history.import_image(png({"parameters": A1111}).getvalue(), "a", MADE)
    assert Path(beside(str(history.file(record.id)))).is_file()
    history.delete(record.id)
    assert files_below(outputs) == []


def test_figures_and_map_of_a_difference(tmp_path: Path) -> None:
    one, other_one = tmp_path / "one.png", tmp_path / "other.png"
    Image.new("RGB", (10, 10), (10, 20, 30)).save(one)
    image = Image.new("RGB", (10, 10), (10, 20, 30))
    image.putpixel((3, 4), (10, 20, 130))
    image.save(other_one)
    same = compare_images(one, one)
    assert same.identical and same.psnr == float("inf")
    found = compare_images(one, other_one)
    assert (found.largest, found.mean, found.changed) == (100, pytest.approx(100 / 300), 0.01)
    assert found.psnr == pytest.approx(32.9, abs=0.01)
    with Image.open(io.BytesIO(heat_map(one, other_one))) as heat:
        assert heat.getpixel((3, 4)) == (255, 255, 255) and heat.getpixel((0, 0)) == (0, 0, 0)
    Image.new("RGB", (10, 11)).save(other_one)
    assert compare_images(one, other_one) == Difference(same_size=False)
    other_one.write_bytes(os.urandom(50))
    with pytest.raises(StorageError):
        compare_images(one, other_one)


def test_a_full_disk_takes_nothing_in_and_harms_nothing(tiny_disk: Path) -> None:
    database = Database(tiny_disk / "studio.db")
    history = History(database, tiny_disk / "outputs")
    kept, _ = history.import_image(png({"parameters": A1111}).getvalue(), "a", MADE)
    before = history.file(kept.id).read_bytes()
    filler = tiny_disk / "filler"
    with pytest.raises(OSError, match="space"), filler.open("wb", buffering=0) as handle:
        while True:
            handle.write(bytes(4096))
    for size in (64, 600):  # one for which a page of 4 KB would do, one that would need many
        buffer = io.BytesIO()
        Image.effect_noise((size, size), 90).save(buffer, "PNG")
        with pytest.raises(DiskFullError):
            history.import_image(buffer.getvalue(), "b", MADE)
    assert history.search(HistoryQuery()).records == (kept,) and history.file(kept.id).read_bytes() == before
    all_generated = [path for path in (tiny_disk / "outputs").rglob("*") if path.is_file()]
    assert sorted(all_generated) == sorted([history.file(kept.id), Path(beside(str(history.file(kept.id))))])
    filler.unlink()
    assert history.import_image(png({"parameters": "later"}).getvalue(), "c", MADE)[1]
    database.close()
