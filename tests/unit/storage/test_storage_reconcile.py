"""What a crash left behind is put right."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from sqlalchemy import delete

from core.errors import NotFoundError
from core.history.reconcile import TEMPORARY_SECONDS, ReconcileReport
from core.history.store import History
from core.storage.database import Database
from core.storage.metadata import read_metadata, save_arguments
from core.storage.tables import images
from core.types import HistoryQuery
from tests.unit.storage.test_storage_search import fill


def forget(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(delete(images))


def acts(report: ReconcileReport) -> tuple[int, int, int, int, int]:
    return report.temporary_removed, len(report.adopted), report.missing, report.returned, report.unknown


def test_nothing_to_do(make_image: Any, history: History) -> None:
    assert acts(history.reconcile()) == (0, 0, 0, 0, 0)  # not even a folder
    history.thumbnail(history.add(make_image(), None).id)
    assert acts(history.reconcile()) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_image_without_a_row_gets_it_back(make_image: Any, history: History, database: Database, format: str) -> None:
    image = make_image((100, 70), prompt="红\ud800\0", seed=2**53 - 1, options={"output.format": format})
    record = history.add(image, "job1")
    forget(database)
    report = history.reconcile()
    assert report.adopted == (record.id,)
    assert history.get(record.id) == record
    assert acts(history.reconcile()) == (0, 0, 0, 0, 0)


def test_a_row_without_its_file_is_marked_and_unmarked(make_image: Any, history: History, tmp_path: Path) -> None:
    record = history.add(make_image(), None)
    path = history.file(record.id)
    shutil.move(path, tmp_path / "away.png")
    assert acts(history.reconcile()) == (0, 0, 1, 0, 0)
    assert history.get(record.id).missing and history.search(HistoryQuery()).records[0].missing
    assert acts(history.reconcile()) == (0, 0, 0, 0, 0)
    shutil.move(tmp_path / "away.png", path)
    assert acts(history.reconcile()) == (0, 0, 0, 1, 0)
    assert history.get(record.id) == record


def test_a_moved_file_keeps_its_row(make_image: Any, history: History, outputs: Path) -> None:
    record = history.add(make_image(), None)
    (outputs / "2001-01-01").mkdir()
    shutil.move(history.file(record.id), outputs / "2001-01-01" / "mine.png")
    assert acts(history.reconcile()) == (0, 1, 0, 0, 0)
    assert history.get(record.id).file == "2001-01-01/mine.png" and not history.get(record.id).missing
    assert history.search(HistoryQuery()).total == 1


def test_a_copied_file_gets_a_row_of_its_own(make_image: Any, history: History) -> None:
    record = history.add(make_image(), None)
    path = history.file(record.id)
    shutil.copy(path, path.with_name("copy.png"))
    (copy,) = history.reconcile().adopted
    assert copy != record.id and history.get(copy).request == record.request
    assert history.get(record.id) == record
    assert acts(history.reconcile()) == (0, 0, 0, 0, 0)


def test_only_old_temporary_files_are_removed(
    make_image: Any, history: History, outputs: Path, files_below: Callable[[Path], list[str]]
) -> None:
    record = history.add(make_image(), None)
    thumbnail = history.thumbnail(record.id)
    before = files_below(outputs)
    old = time.time() - TEMPORARY_SECONDS - 1
    for folder in (history.file(record.id).parent, thumbnail.parent):
        for name, modified in ((".old.png.0011aabb.tmp", old), (".new.png.0011aabb.tmp", time.time())):
            (folder / name).write_bytes(b"half")
            os.utime(folder / name, (modified, modified))
        (folder / "note.tmp").write_bytes(b"not ours")
        os.utime(folder / "note.tmp", (old, old))
    assert acts(history.reconcile()) == (2, 0, 0, 0, 0)
    left = set(files_below(outputs)) - set(before)
    assert {Path(name).name for name in left} == {".new.png.0011aabb.tmp", "note.tmp"}


def rewritten(path: Path, **changes: Any) -> None:
    """The same image with other values in its record."""
    metadata = read_metadata(path)
    assert metadata is not None and metadata.record is not None
    with Image.open(path) as image:
        image.load()
        image.save(path, "PNG", **save_arguments("png", "", {**metadata.record, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"format": "other"},
        {"id": "../../../../etc/passwd"},
        {"id": None},
        {"job_id": "\ud800"},
        {"created_at": "yesterday"},
        {"created_at": "2026-03-01T00:00:00"},
        {"created_at": "0001-01-01T00:00:00+14:00"},
        {"requested": {}},
        {"requested": []},
        {"requested": {**{"prompt": "", "negative_prompt": "", "model": "", "width": 1, "height": 1, "options": {}}}},
        {"timings": {"steps": 10**400}},
        {"timings": 5},
        {"size": {"rendered": []}},
        {"decisions": [1]},
        {"peak_memory_bytes": "much"},
    ],
)
def test_a_file_with_a_strange_record_is_left_alone(
    make_image: Any, history: History, database: Database, changes: dict[str, Any]
) -> None:
    record = history.add(make_image(), None)
    path = history.file(record.id)
    forget(database)
    rewritten(path, **changes)
    assert acts(history.reconcile()) == (0, 0, 0, 0, 1)
    assert path.is_file() and history.search(HistoryQuery()).total == 0


def test_the_size_is_read_from_the_file_and_not_believed(make_image: Any, history: History, database: Database) -> None:
    record = history.add(make_image((64, 80)), None)
    path = history.file(record.id)
    forget(database)
    requested = {**vars(record.request), "options": {}, "width": 5000}
    rewritten(path, requested=requested, file="/etc/passwd", seed_of_another_version=1)
    history.reconcile()
    assert (history.get(record.id).width, history.get(record.id).height) == (64, 80)
    assert history.file(record.id) == path


def test_images_of_others_are_left_alone(outputs: Path, history: History, tmp_path: Path) -> None:
    day = outputs / "2026-03-01"
    day.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(day / "plain.png")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "a\nSteps: 1, Sampler: x, Seed: 1")
    Image.new("RGB", (8, 8)).save(day / "a1111.png", pnginfo=chunks)
    (day / "broken.png").write_bytes(b"\x89PNG nonsense")
    (day / "empty.webp").touch()
    (day / "notes.txt").touch()
    (outputs / "other").mkdir()
    Image.new("RGB", (8, 8)).save(outputs / "other" / "a.png")
    assert acts(history.reconcile()) == (0, 0, 0, 0, 4)


def test_links_are_not_followed(make_image: Any, history: History, outputs: Path, tmp_path: Path) -> None:
    record = history.add(make_image(), None)
    path = history.file(record.id)
    shutil.move(path, tmp_path / "away.png")
    path.symlink_to(tmp_path / "away.png")
    (outputs / "2001-01-01").symlink_to(tmp_path)
    assert acts(history.reconcile()) == (0, 0, 1, 0, 0)
    with pytest.raises(NotFoundError):
        history.file(record.id)


def test_a_sweep_between_file_and_row_of_a_living_writer(
    make_image: Any, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = []

    write = history._files.write

    def late(*given: Any) -> None:
        write(*given)
        reports.append(history.reconcile())  # the file has its name, its row is not written yet

    monkeypatch.setattr(history._files, "write", late)
    record = history.add(make_image(), None)
    assert reports[0].adopted == (record.id,)
    assert history.get(record.id) == record
    assert history.search(HistoryQuery()).total == 1


@pytest.mark.slow
def test_ten_thousand_rows_and_files_are_swept_quickly(
    database: Database, history: History, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = fill(database, range(10_000))
    (outputs / "2026-03-01").mkdir(parents=True)
    for record in records[:9_990]:
        (outputs / record.file).touch()
    start = time.perf_counter()
    report = history.reconcile()
    seconds = time.perf_counter() - start
    with capsys.disabled():
        print(f"\nsweep of 10,000 rows: {seconds * 1000:.0f} ms")
    assert acts(report) == (0, 0, 10, 0, 0)
    assert seconds < 5  # a tenth of it on a quiet machine
