"""`history check` and `history rebuild`, over real files and through the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text, update

from core.history import annotation_files
from core.history.integrity import CheckReport, check, rebuild
from core.history.record_codec import RECORD_SUFFIX, beside
from core.history.store import History
from core.storage.database import Database
from core.storage.files import LocalFiles
from core.storage.metadata import read_metadata
from core.storage.tables import images
from core.types import AnnotationChange, HistoryQuery
from tests.conftest import SERVER
from tests.unit.storage.test_storage_readers import A1111, png


def test_nothing_to_find(make_image: Any, history: History, database: Database, outputs: Path) -> None:
    record = history.add(make_image(), None)
    history.change([record.id], AnnotationChange(rating=3))
    history.thumbnail(record.id)
    assert check(database, outputs) == CheckReport(images=1)


def test_everything_is_found_once_and_put_right(
    make_image: Any, history: History, database: Database, outputs: Path
) -> None:
    whole, missing, changed, damaged, lost, old = (history.add(make_image(), None) for _ in range(6))
    history.change([whole.id], AnnotationChange(rating=3))
    history.file(whole.id).with_name(
        history.file(whole.id).name + annotation_files.SUFFIX
    ).unlink()  # a crash between row and file
    history.file(missing.id).unlink()
    changed_path = history.file(changed.id)
    history.thumbnail(changed.id)
    Image.new("RGB", (20, 10)).save(changed_path)
    history.file(damaged.id).write_bytes(b"nothing")
    history.delete(lost.id)
    Path(outputs / f"{lost.file}{RECORD_SUFFIX}").write_text("{}")
    with database.writing() as connection:
        connection.execute(update(images).where(images.c.id == old.id).values(digest=None))
    found = check(database, outputs)
    assert found == CheckReport(
        images=5, missing=1, changed=(changed.file,), damaged=(damaged.file,), thumbnails=3, marks=2
    )
    assert (history.get(changed.id).width, history.get(changed.id).height) == (20, 10)
    assert annotation_files.read(LocalFiles(outputs), whole.file)[0].rating == 3
    assert check(database, outputs) == replace(CheckReport(images=5, missing=1), damaged=(damaged.file,))


def test_a_history_is_made_again_from_the_images_alone(
    make_image: Any, history: History, database: Database, outputs: Path, tmp_path: Path, dialect: str
) -> None:
    own = history.add(make_image(prompt="红色的房子"), "job")
    taken, _ = history.import_image(png({"parameters": A1111}).getvalue(), "x")
    history.change([own.id, taken.id], AnnotationChange(rating=5, add_tags=("雪",), add_collections=("墙",)))
    history.trash([taken.id])
    before = [history.get(image_id) for image_id in (own.id, taken.id)]
    report = rebuild(database, outputs)
    assert set(report.swept.adopted) == {own.id, taken.id}
    assert [history.get(image_id) for image_id in (own.id, taken.id)] == before
    assert history.search(HistoryQuery(text="房子", tag="雪")).records == (before[0],)
    if dialect == SERVER:
        with database.reading() as connection:
            kept = connection.execute(text("SELECT id FROM zdarkroom_rebuild.images")).all()
        assert {row.id for row in kept} == {own.id, taken.id}
    else:
        assert (tmp_path / "data" / "studio.db.rebuild.backup").is_file()


@pytest.fixture
def shop(tmp_path: Path, make_image: Any, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.setenv("ZDARKROOM_OUTPUT__DIRECTORY", str(tmp_path / "outputs"))
    return History(Database(tmp_path / "outputs" / "studio.db"), tmp_path / "outputs")


def test_the_command_line_says_what_was_found(
    shop: History, configs: Path, make_image: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from core.cli.main import main  # its own error has no title on any page, which a test of the texts looks at

    record = shop.add(make_image(), None)
    assert main(["history", "check", "--lang", "en"], configs) == 0
    assert "images: 1" in capsys.readouterr().out
    shop.file(record.id).write_bytes(b"nothing")
    assert main(["history", "check", "--lang", "zh"], configs) == 1
    assert f"已损坏: 1\n  {record.file}" in capsys.readouterr().out
    assert main(["history", "rebuild", "--lang", "en"], configs) == 0
    assert "0 images are in the history again; 1 files" in capsys.readouterr().out
    assert main(["history", "mend"], configs) == 2


def test_the_record_beside_a_image_is_json(history: History) -> None:
    record, _ = history.import_image(png({"parameters": A1111}).getvalue(), "x")
    kept = json.loads(Path(beside(str(history.file(record.id)))).read_text(encoding="utf-8"))
    assert kept["resolved"]["taken_in_from"] == "A1111"


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_rebuild_keeps_images_without_metadata(
    format: str, make_image: Any, history: History, database: Database, outputs: Path
) -> None:
    options = {"output.metadata": False, "output.format": format}
    plain, bare = history.add(make_image(seed=1), None), history.add(make_image(seed=2, options=options), "job")
    assert read_metadata(history.file(bare.id)).record is None  # type: ignore[union-attr]
    for _ in range(2):
        assert set(rebuild(database, outputs).swept.adopted) == {plain.id, bare.id}
        assert [history.get(one.id) for one in (plain, bare)] == [plain, bare]


def test_rebuild_keeps_rows_of_earlier_versions_that_no_file_tells(
    make_image: Any, history: History, database: Database, outputs: Path
) -> None:
    record = history.add(make_image(options={"output.metadata": False}), None)
    Path(beside(str(history.file(record.id)))).unlink()  # earlier versions wrote none
    history.change([record.id], AnnotationChange(rating=4))
    before = history.get(record.id)
    rebuild(database, outputs)
    rebuild(database, outputs)
    assert history.get(record.id) == before


def test_a_record_that_a_jpeg_cannot_hold_is_beside_it(
    make_image: Any, history: History, database: Database, outputs: Path
) -> None:
    record = history.add(make_image(prompt="😀" * 20_000, options={"output.format": "jpeg"}), None)
    assert [decision.effective for decision in record.decisions if decision.option == "output.metadata"] == ["sidecar"]
    rebuild(database, outputs)
    assert history.get(record.id) == record
    history.delete(record.id)
    assert not [path for path in outputs.rglob("*") if path.is_file() and record.id[-8:] in path.name]


def test_the_copy_of_a_rebuild_is_not_replaced_by_a_poorer_one(
    make_image: Any, history: History, database: Database, outputs: Path
) -> None:
    kept, gone = history.add(make_image(seed=1), None), history.add(make_image(seed=2), None)
    assert rebuild(database, outputs).replaced
    history.file(gone.id).unlink()
    assert rebuild(database, outputs).replaced, "as many rows, the one without its file among them"
    second = rebuild(database, outputs)
    assert not second.replaced and second.backup
    with database.writing() as connection:
        assert database.backed_up_images(connection, "rebuild") == 2
    assert history.get(kept.id) == kept
