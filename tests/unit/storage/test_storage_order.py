"""Ratings, tags, notes, collections and the trash: in rows, beside the image, and back from the images alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from core.errors import DiskFullError, NotFoundError, OptionError
from core.history import annotation_files
from core.history.store import History
from core.storage.database import Database
from core.storage.dialects import dialect_of
from core.storage.files import LocalFiles
from core.storage.tables import images
from core.types import AnnotationChange, Annotations, HistoryQuery

LOVED = AnnotationChange(
    rating=4, favourite=True, note="给墙上的\n=1", add_tags=("雪", " best "), add_collections=("2026",)
)
SAID = Annotations(4, True, "给墙上的\n=1", ("best", "雪"), ("2026",))


def found(history: History, **query: Any) -> set[str]:
    return {record.id for record in history.search(HistoryQuery(**query)).records}


def test_what_is_said_is_kept_and_found(make_image: Any, history: History) -> None:
    one, other = history.add(make_image(), None), history.add(make_image(), None)
    history.change([one.id], LOVED)
    assert history.get(one.id).marks == SAID and history.get(other.id).marks == Annotations()
    for query in ({"min_rating": 4}, {"favourite": True}, {"tag": "雪"}, {"collection": "2026"}):
        assert found(history, **query) == {one.id}, query
    assert found(history, favourite=False) == {other.id} and found(history, min_rating=5) == set()
    assert (history.labels("tag"), history.labels("collection")) == (("best", "雪"), ("2026",))
    history.change([one.id, other.id], AnnotationChange(remove_tags=("best",), add_tags=("new",)))
    assert history.get(one.id).marks.tags == ("new", "雪") and history.get(other.id).marks.tags == ("new",)


@pytest.mark.parametrize(
    "change",
    [
        AnnotationChange(rating=6),
        AnnotationChange(rating=-1),
        AnnotationChange(note="x" * (annotation_files.MAX_NOTE + 1)),
        AnnotationChange(add_tags=("x" * (annotation_files.MAX_NAME + 1),)),
        AnnotationChange(add_collections=tuple(map(str, range(annotation_files.MAX_LABELS + 1)))),
    ],
)
def test_what_cannot_be_kept_changes_nothing(make_image: Any, history: History, change: AnnotationChange) -> None:
    record = history.add(make_image(), None)
    with pytest.raises(OptionError):
        history.change([record.id], change)
    with pytest.raises(NotFoundError):
        history.change([record.id, "f" * 32], AnnotationChange(rating=3))
    assert history.get(record.id).marks == Annotations()


def test_the_trash_hides_keeps_and_gives_back(
    make_image: Any, history: History, outputs: Path, files_below: Callable[[Path], list[str]]
) -> None:
    kept, gone = history.add(make_image(), None), history.add(make_image(prompt="红色的房子"), None)
    history.change([gone.id], LOVED)
    history.trash([gone.id])
    assert found(history) == {kept.id} and found(history, text="房子") == set()
    assert found(history, trashed=True) == found(history, trashed=True, text="房子", tag="雪") == {gone.id}
    assert history.get(gone.id).trashed_at is not None and history.file(gone.id).is_file()
    history.restore([gone.id])
    assert found(history, text="房子") == {gone.id} and history.get(gone.id).marks == SAID
    history.trash([gone.id])
    history.thumbnail(gone.id)
    assert history.empty_trash() == 1
    assert files_below(outputs) == [kept.file] and found(history, trashed=True) == set()


def test_everything_comes_back_from_the_images_alone(make_image: Any, history: History, database: Database) -> None:
    loved, trashed = history.add(make_image(), None), history.add(make_image(), None)
    history.change([loved.id], LOVED)
    history.trash([trashed.id])
    before = [history.get(record.id) for record in (loved, trashed)]
    with database.writing() as connection:
        connection.execute(delete(images))
        dialect_of(connection).clear_words(connection)
    history.reconcile()
    assert [history.get(record.id) for record in (loved, trashed)] == before


def test_a_image_of_which_nothing_is_said_has_no_file_beside(make_image: Any, history: History) -> None:
    record = history.add(make_image(), None)
    history.change([record.id], AnnotationChange(rating=3))
    path = Path(annotation_files.beside(str(history.file(record.id))))
    assert json.loads(path.read_text())["rating"] == 3
    history.change([record.id], AnnotationChange(rating=0))
    assert not path.exists()


@pytest.mark.parametrize(
    "words", ["", "{", "[]", "[" * 100_000, '{"format": "other"}', "null", '{"rating": 9}', "\ud800"]
)
def test_a_strange_file_beside_a_image_says_nothing(tmp_path: Path, words: str) -> None:
    (tmp_path / annotation_files.beside("a.png")).write_bytes(words.encode("utf-8", "surrogatepass"))
    assert annotation_files.read(LocalFiles(tmp_path), "a.png") == (Annotations(), None)


def test_a_full_disk_loses_no_rating(make_image: Any, tiny_disk: Path, tmp_path: Path) -> None:
    """The row is durable before the file beside the image is tried."""
    database = Database(tmp_path / "studio.db")
    history = History(database, tiny_disk)
    record = history.add(make_image(), None)
    filler = tiny_disk / "filler"
    with pytest.raises(OSError, match="space"), filler.open("wb", buffering=0) as handle:
        while True:
            handle.write(bytes(512))
    with pytest.raises(DiskFullError):
        history.change([record.id], AnnotationChange(rating=5, note="x" * 5000))
    assert history.get(record.id).marks.rating == 5
    database.close()


def test_neighbours_follow_the_order(make_image: Any, history: History) -> None:
    records = [history.add(make_image(seed=seed), None) for seed in (5, 1, 3, 3)]
    by_seed = HistoryQuery(sort="seed", descending=False)
    order = history.ids(by_seed)
    assert order[0] == records[1].id
    for place, image_id in enumerate(order):
        before = order[place - 1] if place else None
        after = order[place + 1] if place + 1 < len(order) else None
        assert history.neighbours(by_seed, image_id) == (before, after)
