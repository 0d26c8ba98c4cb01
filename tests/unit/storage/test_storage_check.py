"""`history check` and `history rebuild`, over real files and through the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import insert, select, text, update

from core.config.loader import PROJECT_ROOT
from core.history import annotation_files, image_rows
from core.history.integrity import CheckReport, check, rebuild
from core.history.reconcile import DATED
from core.history.record_codec import RECORD_SUFFIX, beside
from core.history.store import History
from core.storage.database import Database
from core.storage.files import LocalFiles
from core.storage.metadata import read_metadata
from core.storage.tables import image_inputs, image_labels, images
from core.types import AnnotationChange, HistoryQuery, ImageRecord
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
    assert set(report.reconciled.adopted) == {own.id, taken.id}
    assert [history.get(image_id) for image_id in (own.id, taken.id)] == before
    assert history.search(HistoryQuery(text="房子", tag="雪")).records == (before[0],)
    if dialect == SERVER:
        with database.reading() as connection:
            kept = connection.execute(text("SELECT id FROM zdarkroom_rebuild.images")).all()
        assert {row.id for row in kept} == {own.id, taken.id}
    else:
        assert (tmp_path / "data" / "studio.db.rebuild.backup").is_file()


@pytest.fixture
def harness(tmp_path: Path, make_image: Any, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.setenv("ZDARKROOM_OUTPUT__DIRECTORY", str(tmp_path / "outputs"))
    return History(Database(tmp_path / "outputs" / "studio.db"), tmp_path / "outputs")


def test_the_command_line_says_what_was_found(
    harness: History, configs: Path, make_image: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from core.cli.main import main  # its own error has no title on any page, which a test of the texts looks at

    record = harness.add(make_image(), None)
    assert main(["history", "check", "--lang", "en"], configs) == 0
    assert "images: 1" in capsys.readouterr().out
    harness.file(record.id).write_bytes(b"nothing")
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
        assert set(rebuild(database, outputs).reconciled.adopted) == {plain.id, bare.id}
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
    first = rebuild(database, outputs)
    assert (first.backup, first.lost, first.earlier) == (database.backup_name("rebuild"), 0, "")
    history.file(gone.id).unlink()
    second = rebuild(database, outputs)
    assert (second.backup, second.lost) == (first.backup, 1), "as many rows, the one without its file among them"
    third = rebuild(database, outputs)
    assert third.earlier == first.backup != third.backup
    with database.writing() as connection:
        assert database.backed_up_images(connection, "rebuild") == 2
    assert history.get(kept.id) == kept


def test_the_copy_with_more_ratings_is_not_replaced(
    make_image: Any, history: History, database: Database, outputs: Path
) -> None:
    record = history.add(make_image(), None)
    history.change([record.id], AnnotationChange(rating=4))
    rebuild(database, outputs)
    history.change([record.id], AnnotationChange(rating=0))
    assert rebuild(database, outputs).earlier == database.backup_name("rebuild")


def test_copies_of_rebuilds_are_not_without_end(make_image: Any, history: History, database: Database, outputs: Path) -> None:
    records = [history.add(make_image(seed=seed), None) for seed in range(6)]
    copies = []
    for record in records:
        copies.append(rebuild(database, outputs).backup)
        history.file(record.id).unlink()
        rebuild(database, outputs)
    assert len(set(copies)) == len(copies), "each poorer one has a name of its own"
    if "://" not in database.name:
        assert len(list(Path(database.name).parent.glob("*.rebuild*.backup"))) == 4


@pytest.mark.all_databases
def test_the_copies_of_the_last_three_versions_are_kept(make_image: Any, history: History, database: Database) -> None:
    records = [history.add(make_image(seed=seed), None) for seed in range(2)]
    with database.writing() as connection:
        rebuilt = database.back_up(connection, "rebuild", replace=True)
        for version in ("0002", "0003", "0004", "0005"):
            database.back_up(connection, version, replace=True)
    history.delete(records[0].id)
    with database.writing() as connection:
        database.back_up(connection, "0005", replace=True)  # poorer: the one before stays under its date
        counts = {name: database.backed_up_images(connection, name) for name in ("0002", "0003", "0004", "0005", "rebuild")}
    assert counts == {"0002": None, "0003": 2, "0004": 2, "0005": 1, "rebuild": 2}
    assert rebuilt == database.backup_name("rebuild")


# -- everything that a history has -----------------------------------------------------------------------------------


def all_rows(database: Database) -> list[tuple[Any, ...]]:
    """Return every image with its record, labels and inputs, without the numbers of the rows."""
    with database.reading() as connection:
        rows = connection.execute(select(images).order_by(images.c.id)).all()
        records = image_rows.records_of(connection, rows)
        marks = image_rows.marks_of(connection, rows)
        inputs = connection.execute(
            select(image_inputs.c.role, image_inputs.c.source, images.c.id).join(images).order_by(images.c.id, image_inputs.c.role)
        ).all()
        labels = connection.execute(
            select(image_labels.c.kind, image_labels.c.name, images.c.id)
            .join(images)
            .order_by(image_labels.c.kind, image_labels.c.name, images.c.id)
        ).all()
    plain = [{name: value for name, value in row._mapping.items() if name not in ("number", "option_set")} for row in rows]
    return [(plain, marks, [records[row.id] for row in rows], [tuple(row) for row in inputs], [tuple(row) for row in labels])]


@pytest.fixture
def varied(make_image: Any, history: History, database: Database) -> dict[str, ImageRecord]:
    """One image of each kind, with marks."""
    bare, long = {"output.metadata": False}, "😀" * 20_000
    made = {
        "png": history.add(make_image(seed=1), "job"),
        **{f"bare-{kind}": history.add(make_image(seed=2, options={**bare, "output.format": kind}), "job")
           for kind in ("png", "jpeg", "webp")},
        "long": history.add(make_image(seed=3, prompt=long, options={"output.format": "jpeg"}), None),
        "child": history.add(make_image(seed=4, inputs={"image": "a" * 64}, parent="0" * 32), None),
        "foreign": history.import_image(png({"parameters": A1111}).getvalue(), "x")[0],
    }  # fmt: skip
    again = history.file(made["png"].id).read_bytes() + b"\0"  # has a record under an id that is taken
    made["twin"] = history.import_image(again, "y")[0]
    for number, record in enumerate(made.values()):
        marks = AnnotationChange(
            rating=number % 6, favourite=number % 2 == 0, note=f"注 {number}", add_tags=(f"t{number}",), add_collections=("墙",)
        )
        history.change([record.id], marks)
    history.trash([made["bare-jpeg"].id, made["foreign"].id])
    with database.writing() as connection:  # imported by a user: no file says that
        number = connection.scalar(select(images.c.number).where(images.c.id == made["foreign"].id))
        connection.execute(insert(image_labels).values(kind=image_rows.OWNER, name="user:anna", number=number))
    return made


def test_rebuilt_once_twice_and_three_times_it_is_the_same(
    varied: dict[str, ImageRecord], database: Database, outputs: Path
) -> None:
    before = all_rows(database)
    for _ in range(3):
        report = rebuild(database, outputs)
        assert (report.lost, report.reconciled.unknown) == (0, 0)
        assert all_rows(database) == before


@pytest.mark.parametrize("damage", [b"", b"{}", b"nothing", b"[1]", None])
def test_rebuild_mends_sidecars_that_are_damaged_or_gone(
    varied: dict[str, ImageRecord], database: Database, outputs: Path, damage: bytes | None
) -> None:
    before = all_rows(database)
    for file in (*outputs.rglob(f"*{RECORD_SUFFIX}"), *outputs.rglob(f"*{annotation_files.SUFFIX}")):
        file.unlink() if damage is None else file.write_bytes(damage)
    rebuild(database, outputs)
    assert all_rows(database) == before
    rebuild(database, outputs)
    assert all_rows(database) == before


@pytest.mark.parametrize("folder", ["best", "best/of 2026", "2026-01-01", "2026-01-01/墙"])
@pytest.mark.parametrize("sidecars", [True, False])
@pytest.mark.by_default("sqlite-True-best/of 2026", "sqlite-False-best/of 2026", "postgresql-True-best/of 2026")
def test_files_that_were_moved_are_found(
    varied: dict[str, ImageRecord], history: History, database: Database, outputs: Path, folder: str, sidecars: bool
) -> None:
    before = {record.id: history.get(record.id) for record in varied.values()}
    (outputs / folder).mkdir(parents=True)
    for record in varied.values():
        path = outputs / record.file
        for beside_it in (path, path.with_name(path.name + RECORD_SUFFIX), path.with_name(path.name + annotation_files.SUFFIX)):
            if beside_it.exists() and (sidecars or beside_it == path):
                shutil.move(beside_it, outputs / folder)
    report = rebuild(database, outputs)
    assert (report.lost, report.reconciled.unknown) == (0, 0)
    for image_id, record in before.items():
        moved = f"{folder}/{Path(record.file).name}"
        assert history.get(image_id) == replace(record, file=moved)
    rows = all_rows(database)
    rebuild(database, outputs)
    assert all_rows(database) == rows
    assert history.reconcile().missing == 0, "the start does not take them for missing"


def test_copies_in_other_folders_are_left_alone(
    varied: dict[str, ImageRecord], database: Database, outputs: Path
) -> None:
    before = all_rows(database)
    for folder in [path for path in outputs.iterdir() if DATED.fullmatch(path.name)]:
        shutil.copytree(folder, outputs / "a copy" / folder.name)
    rebuild(database, outputs)
    assert all_rows(database) == before


def test_a_copy_beside_its_original_is_one_image_for_ever(
    make_image: Any, history: History, database: Database, outputs: Path
) -> None:
    record = history.add(make_image(), None)
    path = history.file(record.id)
    shutil.copy(path, path.with_name("again.png"))
    rebuild(database, outputs)
    rows = all_rows(database)
    assert len(rows[0][0]) == 2
    rebuild(database, outputs)
    assert all_rows(database) == rows


KILLED = """
import os, signal, sys
from pathlib import Path
from core.history import integrity, reconcile
from core.storage.database import Database
where, outputs, moment = sys.argv[1:]
left = 2

def die(*given, **named):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **named)

reconcile.PORTION = 2
module, name = {"records": (integrity, "encoded"), "rows": (reconcile, "put"), "reconcile": (integrity, "reconcile")}[moment]
real = getattr(module, name)
setattr(module, name, die)
integrity.rebuild(Database(where if "://" in where else Path(where)), Path(outputs))
"""


@pytest.mark.all_databases
@pytest.mark.parametrize("moment", ["records", "reconcile", "rows"])
@pytest.mark.by_default("sqlite-rows", "postgresql-rows", "sqlite-reconcile")
@pytest.mark.by_default("sqlite-rows")
def test_a_rebuild_that_is_killed_loses_nothing(
    varied: dict[str, ImageRecord], database: Database, outputs: Path, tmp_path: Path, place_of: Any, moment: str
) -> None:
    before = all_rows(database)
    for file in outputs.rglob(f"*{RECORD_SUFFIX}"):
        file.unlink()
    place = str(place_of(tmp_path / "data" / "studio.db"))
    ended = subprocess.run([sys.executable, "-c", KILLED, place, str(outputs), moment], cwd=PROJECT_ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    if moment == "rows":
        assert all_rows(database) != before
    History(database, outputs).reconcile()  # the next start
    assert all_rows(database) == before
    report = rebuild(database, outputs)
    assert all_rows(database) == before and report.lost == 0
    with database.writing() as connection:
        assert database.backed_up_images(connection, "rebuild") == len(varied)
