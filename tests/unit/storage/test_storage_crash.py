"""kill -9 in the middle of the work of a real process; then files and rows agree and nothing acknowledged is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from core.storage.database import Database
from core.storage.history import History
from core.types import HistoryQuery

ROOT = Path(__file__).parents[3]
CHILD = """
import os, signal, sys
from pathlib import Path
from core.storage import files, history as module
from core.storage.database import Database
from core.storage.history import History
from tests.unit.storage.conftest import build_picture

folder, place = Path(sys.argv[1]), sys.argv[2]
history = History(Database(folder / "studio.db"), folder / "outputs")

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def say(words):
    print(words, flush=True)

print("ready", flush=True)
if place == "anywhere":
    kept = []
    while True:
        kept.append(history.add(build_picture((96, 64), noise=True), "job"))
        say(f"added {kept[-1].id}")
        if len(kept) > 3:
            gone = kept.pop(0)
            say(f"deleting {gone.id}")
            history.delete(gone.id)
            say(f"deleted {gone.id}")
first = history.add(build_picture(), "job")
say(f"added {first.id}")
history.thumbnail(first.id)
if place == "before the name":
    files.os.replace = die
elif place == "before the row":
    module.rows.put = die
elif place == "before the file is removed":
    module.remove = die
    say(f"deleting {first.id}")
    history.delete(first.id)
history.add(build_picture(), "job")
"""


def started(folder: Path, place: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), place]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def words_of(child: subprocess.Popen[str]) -> list[list[str]]:
    assert child.stdout is not None
    words = [line.split() for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    child.stdout.close()
    assert child.wait(timeout=60) == -9
    return words


def checked(folder: Path) -> set[str]:
    """Sweep, then hold every row against every file; the ids that are there."""
    database = Database(folder / "studio.db")
    history = History(database, folder / "outputs")
    history.sweep()
    again = history.sweep()
    assert (again.adopted, again.missing, again.returned, again.unknown) == ((), 0, 0, 0)
    page = history.search(HistoryQuery(limit=1000))
    assert page.next_cursor is None
    for record in page.records:
        path = history.file(record.id)
        assert not record.missing and record.bytes == path.stat().st_size
        with Image.open(path) as image:
            image.load()
            assert image.size == (record.width, record.height)
    pictures = [path for path in (folder / "outputs").glob("????-??-??/*") if not path.name.startswith(".")]
    assert len(pictures) == page.total
    database.close()
    return {record.id for record in page.records}


def test_killed_anywhere(tmp_path: Path) -> None:
    rng = random.Random(3)
    added: set[str] = set()
    deleting: set[str] = set()
    deleted: set[str] = set()
    for lines in (1, 4, 8, 15, 25):
        child = started(tmp_path, "anywhere")
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        words = [child.stdout.readline().split() for _ in range(lines)]
        time.sleep(rng.uniform(0, 0.05))
        child.kill()
        for verb, image_id in words + words_of(child):
            {"added": added, "deleting": deleting, "deleted": deleted}[verb].add(image_id)
        there = checked(tmp_path)
        assert added - deleting <= there
        assert not deleted & there
    assert len(added) > 20 and deleted


@pytest.mark.parametrize(
    ("place", "pictures"), [("before the name", 1), ("before the row", 2), ("before the file is removed", 1)]
)
def test_killed_at_the_worst_moment(tmp_path: Path, place: str, pictures: int) -> None:
    words = words_of(started(tmp_path, place))
    added = {word[1] for word in words if word[0] == "added"}
    there = checked(tmp_path)
    assert len(added) == 1 and added <= there and len(there) == pictures
