"""Counts and statistics of the history, filters for what is imported or unknown, and what undoes a change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest

from core.errors import OptionError
from core.history.store import History
from core.storage.database import Database
from core.types import AnnotationChange, HistoryQuery
from tests.unit.storage.conftest import a1111_image, build_image
from tests.unit.storage.test_storage_search import fill


@pytest.mark.all_databases
def test_counts_are_those_of_the_searches(history: History) -> None:
    ids = [history.add(build_image(seed=seed), None).id for seed in range(6)]
    history.import_image(a1111_image(), "a.png")
    history.change(ids[:3], AnnotationChange(favourite=True, add_tags=("雪", "best"), add_collections=("2026",)))
    history.trash([ids[0]])
    counts = history.counts()
    assert (counts.all, counts.favourites, counts.missing, counts.imported, counts.trash) == (6, 2, 0, 1, 1)
    assert (counts.tags, counts.collections) == ({"best": 2, "雪": 2}, {"2026": 2})


@pytest.mark.all_databases
def test_imported_and_unknown_are_found(history: History) -> None:
    history.add(build_image(), None)
    told = history.import_image(a1111_image(), "told.png")[0].id
    silent = history.import_image(a1111_image(""), "silent.png")[0].id

    def found(**asked: object) -> set[str]:
        return {record.id for record in history.search(HistoryQuery(**asked)).records}

    assert found(imported=True) == {told, silent}
    for name in ("model", "seed", "num_inference_steps", "cfg_scale"):
        assert found(unknown=(name,)) == {silent}, name
    assert found(unknown=("seconds",)) == {told, silent}
    history.change([told], AnnotationChange(rating=3))  # leaves what program made it
    assert found(imported=True, min_rating=1) == {told}
    with pytest.raises(OptionError, match="num_inference_steps"):
        found(unknown=("prompt",))


@pytest.mark.all_databases
@pytest.mark.parametrize("query", [HistoryQuery(), HistoryQuery(text="house", model="demo"), HistoryQuery(tag="third")])
def test_statistics_count_what_is_found(database: Database, history: History, query: HistoryQuery) -> None:
    fill(database, range(60))
    records = history.search(HistoryQuery(**{**vars(query), "limit": 100})).records
    found = history.statistics(query, UTC)
    assert found.total == len(records) > 0
    assert found.models == Counter(record.request.model for record in records)
    assert found.sizes == Counter((record.width, record.height) for record in records)
    assert list(found.models.values()) == sorted(found.models.values(), reverse=True)
    assert [(one.day, one.images) for one in found.days] == [(records[0].created_at.date(), len(records))]
    seconds = [record.seconds for record in records if record.seconds is not None]
    assert found.days[0].seconds == pytest.approx(sum(seconds) / len(seconds))


def test_a_day_is_one_of_the_viewer(history: History) -> None:
    made = history.add(build_image(options={"generation.sampler": "euler"}), None).created_at
    ahead = timezone(timedelta(hours=14))
    found = history.statistics(HistoryQuery(), ahead)
    assert [one.day for one in found.days] == [made.astimezone(ahead).date()]
    assert found.samplers == {"euler": 1}
    assert history.statistics(HistoryQuery(text="nothing"), UTC).days == ()


@pytest.mark.all_databases
def test_a_change_is_undone_in_what_it_changed(history: History) -> None:
    one, two = (history.add(build_image(seed=seed), None).id for seed in range(2))
    history.change([one], AnnotationChange(rating=4, favourite=True, note="keep", add_tags=("a", "b")))
    before = {image_id: history.get(image_id).marks for image_id in (one, two)}
    undo = history.change(
        [one, two], AnnotationChange(rating=1, favourite=False, add_tags=("a", "c"), remove_tags=("b", "d"), add_collections=("x",))
    )
    assert history.get(two).marks.tags == ("a", "c")
    history.change([two], AnnotationChange(note="written meanwhile"))
    for change, ids in undo:
        history.change(ids, change)
    assert history.get(one).marks == before[one]
    assert history.get(two).marks == replace(before[two], note="written meanwhile")


def test_what_moves_to_the_trash_is_told(history: History) -> None:
    one, two = (history.add(build_image(seed=seed), None).id for seed in range(2))
    assert history.trash([one]) == (one,)
    assert set(history.trash([one, two])) == {two}
    assert set(history.restore(HistoryQuery(trashed=True))) == {one, two}
