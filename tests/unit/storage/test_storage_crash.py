"""kill -9 in the middle of the work of a real process; then files and rows agree and nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from core.history.integrity import check
from core.history.record_codec import generated_record, image_record, image_row, new_id
from core.history.store import History
from core.storage import database as database_module
from core.storage.database import Database
from core.storage.image_writer import StoredFile
from core.types import AnnotationChange, HistoryQuery, ImageRecord
from tests.unit.storage.conftest import build_image

ROOT = Path(__file__).parents[3]
CHILD = """
import os, signal, sys
from pathlib import Path
from core.storage import files
from core.history import store as module
from core.storage.database import Database
from core.history.store import History
from core.types import HistoryQuery, AnnotationChange
from tests.unit.storage.conftest import build_image
from tests.unit.storage.test_storage_readers import A1111, png

folder, place, where = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
history = History(Database(where if "://" in where else Path(where)), folder / "outputs")

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def say(words):
    print(words, flush=True)

print("ready", flush=True)
if place == "anywhere":
    kept = []
    while True:
        kept.append(history.add(build_image((96, 64), noise=True), "job"))
        say(f"added {kept[-1].id}")
        history.change([kept[-1].id], AnnotationChange(rating=3, add_tags=("kept",)))
        say(f"rated {kept[-1].id}")
        taken, _ = history.import_image(png({"parameters": f"{A1111} {len(kept)} {kept[-1].id}"}).getvalue(), "elsewhere")
        say(f"added {taken.id}")
        history.trash([taken.id])
        say(f"trashed {taken.id}")
        history.thumbnail(taken.id)
        history.change(HistoryQuery(), AnnotationChange(favourite=True))
        say(f"loved {kept[-1].id}")
        if len(kept) % 3 == 2:
            bin = history.ids(HistoryQuery(trashed=True))
            for image_id in bin:
                say(f"deleting {image_id}")
            history.empty_trash()
            for image_id in bin:
                say(f"deleted {image_id}")
        if len(kept) > 3:
            gone = kept.pop(0)
            say(f"deleting {gone.id}")
            history.delete(gone.id)
            say(f"deleted {gone.id}")
first = history.add(build_image(), "job")
say(f"added {first.id}")
history.thumbnail(first.id)
if place == "before the name":
    files.os.replace = die
elif place == "before the row":
    module.image_rows.put = die
elif place == "before the file is removed":
    files.LocalFiles.remove = die
    say(f"deleting {first.id}")
    history.delete(first.id)
history.add(build_image(), "job")
"""


PlaceOf = Callable[[Path], Path | str]  # of a database: a file, or an address on a server


def started(folder: Path, place: str, place_of: PlaceOf) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), place, str(place_of(folder / "studio.db"))]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def words_of(child: subprocess.Popen[str]) -> list[list[str]]:
    assert child.stdout is not None
    words = [line.split() for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    child.stdout.close()
    assert child.wait(timeout=60) == -9
    return words


def checked(folder: Path, place_of: PlaceOf) -> dict[str, ImageRecord]:
    """Sweep, then hold every row against every file; the records that are there."""
    database = Database(place_of(folder / "studio.db"))
    history = History(database, folder / "outputs")
    history.reconcile()
    again = history.reconcile()
    assert (again.adopted, again.missing, again.returned, again.unknown) == ((), 0, 0, 0)
    page, trash = history.search(HistoryQuery(limit=1000)), history.search(HistoryQuery(limit=1000, trashed=True))
    assert page.next_cursor is None and trash.next_cursor is None
    for record in page.records + trash.records:
        path = history.file(record.id)
        assert not record.missing and record.bytes == path.stat().st_size
        with Image.open(path) as image:
            image.load()
            assert image.size == (record.width, record.height)
    images = [path for path in (folder / "outputs").glob("????-??-??/*") if path.suffix == ".png"]
    assert len(images) == page.total + trash.total
    check(database, folder / "outputs")
    after = check(database, folder / "outputs")
    assert (after.changed, after.damaged, after.thumbnails, after.marks) == ((), (), 0, 0)
    database.close()
    return {record.id: record for record in page.records + trash.records}


def killed(folder: Path, place_of: PlaceOf, lines: int, rng: random.Random, said: dict[str, set[str]]) -> None:
    """One life of a child that is killed a moment after so many lines; then nothing that was acknowledged is lost."""
    child = started(folder, "anywhere", place_of)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    words = [child.stdout.readline().split() for _ in range(lines)]
    time.sleep(rng.uniform(0, 0.05))
    child.kill()
    for verb, image_id in words + words_of(child):
        said[verb].add(image_id)
    there = checked(folder, place_of)
    assert said["added"] - said["deleting"] <= there.keys()
    assert not said["deleted"] & there.keys()
    for image_id in said["rated"] - said["deleting"]:
        assert (there[image_id].marks.rating, there[image_id].marks.tags) == (3, ("kept",))
    for image_id in said["loved"] - said["deleting"]:
        assert there[image_id].marks.favourite
    assert said["trashed"] - said["deleting"] <= there.keys()
    for image_id in said["trashed"] & there.keys():  # those, too, whose files the emptying left
        assert there[image_id].trashed_at is not None


def empty() -> dict[str, set[str]]:
    return {verb: set() for verb in ("added", "rated", "loved", "trashed", "deleting", "deleted")}


@pytest.mark.slow
def test_killed_anywhere(tmp_path: Path, place_of: PlaceOf) -> None:
    rng, said = random.Random(3), empty()
    for lines in (1, 12, 40):
        killed(tmp_path, place_of, lines, rng, said)
    assert len(said["added"]) > 12 and all(said.values())


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_two_hundred_times(tmp_path: Path, place_of: PlaceOf) -> None:
    """ZDARKROOM_KILLS in the environment makes it longer."""
    rng, said = random.Random(11), empty()
    for k in range(int(os.environ.get("ZDARKROOM_KILLS", "200"))):
        killed(tmp_path / str(k // 20), place_of, rng.randrange(30), rng, said if k % 20 else (said := empty()))


@pytest.mark.parametrize(
    ("place", "images"), [("before the name", 1), ("before the row", 2), ("before the file is removed", 1)]
)
@pytest.mark.by_default("sqlite-before the row-2")
def test_killed_at_the_worst_moment(tmp_path: Path, place_of: PlaceOf, place: str, images: int) -> None:
    words = words_of(started(tmp_path, place, place_of))
    added = {word[1] for word in words if word[0] == "added"}
    there = checked(tmp_path, place_of)
    assert len(added) == 1 and added <= there.keys() and len(there) == images


REBUILD = """
import sys
from pathlib import Path
from core.history import reconcile
from core.history.integrity import rebuild
from core.storage.database import Database
reconcile.PORTION = 3
folder, where = Path(sys.argv[1]), sys.argv[2]
database = Database(where if "://" in where else Path(where))
print("ready", flush=True)
rebuild(database, folder / "outputs")
print("done", flush=True)
"""


@pytest.mark.slow
def test_killed_while_a_history_is_made_again(tmp_path: Path, place_of: PlaceOf) -> None:
    """Whatever it had written of the rows stays, and the next start takes in the rest, with all that was said of it."""
    database = Database(place_of(tmp_path / "studio.db"))
    history = History(database, tmp_path / "outputs")
    ids = [history.add(build_image(seed=k), None).id for k in range(30)]
    history.change(ids[::3], AnnotationChange(rating=4, add_tags=("雪",)))
    history.trash(ids[::7])
    before = checked(tmp_path, place_of)
    left = []
    for least in (3, 0):  # the second is killed as soon as all is forgotten
        command = [sys.executable, "-c", REBUILD, str(tmp_path), str(place_of(tmp_path / "studio.db"))]
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        while not least <= history.search(HistoryQuery(limit=1)).total < 20 and child.poll() is None:
            pass
        child.kill()
        child.communicate()
        left.append(history.search(HistoryQuery(limit=1)).total)
        assert checked(tmp_path, place_of) == before
    assert any(0 < count < 25 for count in left)  # one at least died in the middle; 25 are not in the trash
    database.close()


MIGRATION = """
import sys
from pathlib import Path
from core.storage.database import Database
print("ready", flush=True)
Database(Path(sys.argv[1]) / "studio.db")
print("done", flush=True)
"""


def test_killed_while_a_database_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_migrations(tmp_path, 3, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_many_times_while_a_database_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_migrations(tmp_path, int(os.environ.get("ZDARKROOM_KILLS", "200")) // 4, monkeypatch)


def kill_migrations(tmp_path: Path, kills: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it dies, the next start finds all images, in the first version or in the present one."""
    count, ended = 3000, set()
    fill_first_version(tmp_path / "first.db", count, monkeypatch)
    for k in range(kills):
        folder = tmp_path / str(k)
        folder.mkdir()
        shutil.copy(tmp_path / "first.db", folder / "studio.db")
        child = subprocess.Popen(
            [sys.executable, "-c", MIGRATION, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(k / kills)  # the first at once: a quick machine is through in less than a second
        child.kill()
        ended.add(child.communicate()[0])
        database = Database(folder / "studio.db")
        found = History(database, folder).search(HistoryQuery(text="雪山", limit=5))
        assert found.total == count and found.records[0].request.prompt == "雪山"
        database.close()
        shutil.rmtree(folder)
    assert "" in ended  # one at least died in the middle


MARKING = """
import sys
from pathlib import Path
from core.storage.database import Database
from core.history.store import History
from core.types import HistoryQuery, AnnotationChange
from tests.unit.storage.conftest import build_image
print("ready", flush=True)
sys.stdin.readline()
folder, me = Path(sys.argv[1]), sys.argv[2]
history = History(Database(folder / "studio.db"), folder / "outputs")
mine = []
for k in range(6):
    mine.append(history.add(build_image(), None).id)
    history.change(HistoryQuery(), AnnotationChange(rating=k % 6, add_tags=(f"{me}{k}",)))
    history.trash(mine[-2:])  # its own only: what lies in the trash meanwhile is not marked by the others
    history.restore(mine[-2:])
print("done", flush=True)
"""


@pytest.mark.slow
def test_processes_that_mark_at_once_lock_nobody_out_and_agree(tmp_path: Path) -> None:
    """The database is new to all of them: they make it at once, too. Then files beside images say what rows say."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", MARKING, str(tmp_path), name],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in "abc"
    ]  # fmt: skip
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        out, problems = child.communicate(timeout=120)
        assert (child.returncode, out) == (0, "done\n"), problems
    database = Database(tmp_path / "studio.db")
    records = History(database, tmp_path / "outputs").search(HistoryQuery(limit=1000)).records
    assert len(records) == 18
    last = {f"{name}5" for name in "abc"}
    assert all(last & set(record.marks.tags) for record in records)
    assert check(database, tmp_path / "outputs").marks == 0
    database.close()


def fill_first_version(path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(database_module, "HEAD", "0001")
        Database(path).close()
    made = datetime(2026, 3, 1, tzinfo=UTC)
    data = generated_record(build_image(prompt="雪山"), new_id(made), None, made)
    row = {**image_row(image_record(data, StoredFile("x", "png", (64, 64), 10))), "missing": 0}
    del row["place"]
    row["guidance_scale"] = row.pop("cfg_scale")  # what the column was called
    with closing(sqlite3.connect(path)) as connection:
        for k in range(count):
            data["id"] = row["id"] = new_id(made)
            row["file"] = f"2026-03-01/{k}.png"
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO images ({', '.join(row)}) VALUES ({marks})", list(row.values()))
            connection.execute("INSERT INTO image_records VALUES (?, ?)", (row["id"], json.dumps(data)))
        connection.commit()
