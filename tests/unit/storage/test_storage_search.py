"""Filters, orders and pages, against plain Python over the same rows; and how long a page takes."""

from __future__ import annotations

import base64
import gc
import random
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text

from core.errors import OptionError
from core.history import image_rows
from core.history import query_sql as asked_module
from core.history.image_rows import COLLECTION, TAG
from core.history.query_sql import FEW, asked_by
from core.history.record_codec import generated_record, image_record, image_row, new_id
from core.history.search import MAX_LIMIT, MAX_TEXT, SORTS
from core.history.store import History
from core.storage.database import Database
from core.storage.dialects import dialect_of
from core.storage.image_writer import StoredFile
from core.storage.tables import image_labels, image_records, images, option_sets
from core.types import Annotations, GeneratedImage, HistoryQuery, ImageRecord
from tests.conftest import SERVER, OpenDatabase
from tests.examples import examples
from tests.unit.storage.conftest import build_image

START = datetime(2026, 3, 1, tzinfo=UTC)
HISTORY_MIDDLE = 5000
SIZES = [(256, 256), (512, 288), (64, 2048)]
PROMPTS = ["a Red House at sunset", "红色的房子，日落，雪山", "100% blue_sky", "back\\slash", "夜晚，灯塔", ""]
IMAGE = build_image()


def made_record(number: int, rng: random.Random) -> tuple[ImageRecord, dict[str, Any]]:
    """A record as `History.add` makes it, without its file; few different values, so that there are many ties."""
    created_at = START + timedelta(seconds=number // 3)
    size, shift = rng.choice(SIZES), rng.choice([1.0, 2.5, 3.0])
    generated = {"scheduler.shift": shift, "generation.sampler": "heun" if shift > 2.5 else "auto"}
    request = replace(
        IMAGE.request,
        prompt=f"{rng.choice(PROMPTS)} {rng.choice(PROMPTS)}",
        negative_prompt=rng.choice(["", "rain", "雨"]),
        model=rng.choice(["demo", "turbo"]),
        width=size[0],
        height=size[1],
        num_inference_steps=rng.choice([4, 8, 50]),
        cfg_scale=rng.choice([1.0, 1.1, 5.5]),
        seed=rng.choice([0, 7, rng.randrange(2**53)]),
        options={**IMAGE.request.options, **generated},
    )
    image: GeneratedImage = replace(
        IMAGE, request=request, timings={"steps": rng.choice([0.1, 0.1 + 0.2, rng.random()])}
    )
    data = generated_record(image, new_id(created_at), None, created_at)
    record = image_record(data, StoredFile(f"2026-03-01/{number}.png", "png", size, 1000))
    tags, collections = ("third",) * (number % 3 == 0), ("fifth",) * (number % 5 == 0)
    return replace(record, marks=Annotations(rating=rng.randrange(6), tags=tags, collections=collections)), data


def fill(database: Database, numbers: Iterable[int]) -> list[ImageRecord]:
    rng = random.Random(1)
    made = [made_record(number, rng) for number in numbers]
    with database.writing() as connection:
        dialect_of(connection).clear_words(connection)
        connection.execute(delete(images))
        sets = {record.request.options["scheduler.shift"]: record for record, _ in made}
        for record in sets.values():
            image_rows.remove(connection, [image_rows.put(connection, record, {})])  # leaves its set of options
        found = connection.execute(select(option_sets)).all()
        known = {row.options["scheduler.shift"]: row.id for row in found if "scheduler.shift" in row.options}
        for start in range(0, len(made), 5000):
            part = made[start : start + 5000]
            connection.execute(
                insert(images),
                [
                    {
                        **image_row(record),
                        "number": start + k + 1,
                        "option_set": known[record.request.options["scheduler.shift"]],
                        "rating": record.marks.rating,
                    }
                    for k, (record, _) in enumerate(part)
                ],
            )
            connection.execute(
                insert(image_records), [{"image_id": record.id, "record": data} for record, data in part]
            )
            requests = [record.request for record, _ in part]
            words = [(start + k + 1, request.prompt, request.negative_prompt) for k, request in enumerate(requests)]
            dialect_of(connection).put_words(connection, words)
            labels = [
                {"kind": kind, "name": name, "number": start + k + 1}
                for k, (record, _) in enumerate(part)
                for kind, names in ((TAG, record.marks.tags), (COLLECTION, record.marks.collections))
                for name in names
            ]
            connection.execute(insert(image_labels), labels)
        dialect_of(connection).after_copy(connection)
    return [record for record, _ in made]


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory, open_database: OpenDatabase
) -> Iterator[tuple[History, list[ImageRecord]]]:
    folder = tmp_path_factory.mktemp("search")
    database = open_database(folder / "studio.db")
    yield History(database, folder), fill(database, range(150))
    database.close()


def parts_of(words: str) -> list[str]:
    """Words in English, characters in Chinese, no marks; told apart from the index by how it is done."""
    return re.findall(r"[\u4e00-\u9fff]|[a-z0-9]+", words.lower())


def has_word(prompt: str, word: str) -> bool:
    parts, wanted = parts_of(prompt), parts_of(word)
    if not wanted:
        return word in prompt
    return any(
        parts[at : at + len(wanted) - 1] == wanted[:-1] and parts[at + len(wanted) - 1].startswith(wanted[-1])
        for at in range(len(parts) - len(wanted) + 1)
    )


def between(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def matches(record: ImageRecord, query: HistoryQuery) -> bool:
    request = record.request
    return (
        all(has_word(request.prompt, w) or has_word(request.negative_prompt, w) for w in query.text.split())
        and query.seed in (None, request.seed)
        and between(request.num_inference_steps, query.min_steps, query.max_steps)
        and between(request.cfg_scale, query.min_cfg_scale, query.max_cfg_scale)
        and between(record.marks.rating, query.min_rating, None)
        and query.tag in (None, *record.marks.tags)
        and query.collection in (None, *record.marks.collections)
        and all(request.options.get(key) == wanted for key, wanted in query.options.items())
        and query.model in (None, request.model)
        and (query.since is None or record.created_at >= query.since)
        and (query.until is None or record.created_at < query.until)
        and query.width in (None, record.width)
        and query.height in (None, record.height)
    )


def value(record: ImageRecord, sort: str) -> Any:
    if sort == "seconds":
        return sum(record.timings.values())
    if sort in ("rating", "favourite"):
        return getattr(record.marks, sort)
    return getattr(record if sort in ("created_at", "width", "height", "format", "bytes") else record.request, sort)


def all_pages(history: History, query: HistoryQuery) -> list[ImageRecord]:
    found: list[ImageRecord] = []
    totals = set()
    while True:
        page = history.search(query)
        assert len(page.records) == query.limit or page.next_cursor is None
        found.extend(page.records)
        totals.add(page.total)
        assert len(found) <= page.total, "a row came twice"
        if page.next_cursor is None:
            assert totals == {len(found)}
            return found
        query = replace(query, cursor=page.next_cursor)


moments = st.none() | st.integers(-5, 60).map(lambda seconds: START + timedelta(seconds=seconds))
queries = st.builds(
    HistoryQuery,
    text=st.sampled_from(
        [
            "",
            "house",
            "RED hou",
            "房子",
            "雪山 夜晚",
            "%",
            "_",
            "\\",
            "0%",
            "雨",
            "nowhere",
            "红色的房子，日落",
            "子房",
            "blue_sky",
            '"',
            "AND",
            "house OR",
            "NEAR(",
            "prompt:red",
            "*",
            "-red",
        ]
    ),
    model=st.sampled_from([None, "demo", "turbo", "none"]),
    since=moments,
    until=moments,
    width=st.sampled_from([None, 256, 64, 1]),
    height=st.sampled_from([None, 288, 2048]),
    seed=st.sampled_from([None, None, None, 0, 7, 8]),
    min_steps=st.sampled_from([None, 5]),
    max_steps=st.sampled_from([None, 8]),
    min_cfg_scale=st.sampled_from([None, 1.1]),
    max_cfg_scale=st.sampled_from([None, 1.1]),
    min_rating=st.sampled_from([None, 3]),
    tag=st.sampled_from([None, None, "third", "none"]),
    collection=st.sampled_from([None, None, "fifth"]),
    options=st.sampled_from(
        [
            {},
            {},
            {"scheduler.shift": 2.5},
            {"scheduler.shift": 9.0},
            {"generation.sampler": "heun", "generation.schedule": "auto"},
            {"generation.sampler": "euler"},
            {"output.format": "png"},
            {"output.metadata": True, "scheduler.shift": 1.0},
        ]
    ),
    sort=st.sampled_from(SORTS),
    descending=st.booleans(),
    limit=st.sampled_from([1, 2, 3, 7, 50, 149, 150, 151]),
)


@pytest.mark.all_databases
@settings(max_examples=examples(200), deadline=None)
@given(query=queries, few=st.sampled_from([0, FEW]))
def test_all_pages_together_are_the_sorted_list(
    filled: tuple[History, list[ImageRecord]], query: HistoryQuery, few: int
) -> None:
    """By both ways: with few = 0 the usual order is always walked."""
    history, records = filled
    expected = sorted(
        (record for record in records if matches(record, query)),
        key=lambda record: (value(record, query.sort), record.id),
        reverse=query.descending,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asked_module, "FEW", few)
        assert all_pages(history, query) == expected
        assert history.search(replace(query, offset=len(expected) + 1)).total == len(expected)
    assert history.ids(query) == tuple(record.id for record in expected)
    for at in range(0, len(expected), 40):
        around = (*[None], *(record.id for record in expected), None)
        assert history.neighbours(query, expected[at].id) == (around[at], around[at + 2])


@pytest.mark.all_databases
@pytest.mark.parametrize("few", [0, FEW])
@pytest.mark.by_default("sqlite-0", "sqlite-2000")
def test_what_is_in_the_trash_is_neither_found_nor_counted(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(asked_module, "FEW", few)
    history = History(database, tmp_path)
    records = fill(database, range(60))
    thrown = {record.id for record in records[::4]}
    rows_of = images.c.id.in_(thrown)
    with database.writing() as connection:
        connection.execute(images.update().where(rows_of).values(trashed_at="2026-03-01T00:00:00.000000+00:00"))
    for query in (
        HistoryQuery(text="house"), HistoryQuery(text="房子", sort="seed"), HistoryQuery(tag="third"),
        HistoryQuery(text="house", tag="third"), HistoryQuery(text="house", model="demo", sort="rating"), HistoryQuery(),
        HistoryQuery(text="%"),
    ):  # fmt: skip
        for trashed in (False, True):
            expected = {r.id for r in records if matches(r, query) and (r.id in thrown) == trashed}
            page = history.search(replace(query, trashed=trashed, limit=100))
            assert page.total == len(expected) > 0 and {record.id for record in page.records} == expected, query


TEXTS_ASKED = (
    "house", "RED hou", "房子", "雪山", "雪山 夜晚", "%", "_", "0%", "雨", "nowhere", "红色的房子，日落", "子房", "blue_sky", '"',
    "AND", "NEAR(", "prompt:red", "*", "-red",
)  # fmt: skip


@pytest.mark.all_databases
@pytest.mark.parametrize("words", TEXTS_ASKED)
def test_words_alone_find_what_has_them(filled: tuple[History, list[ImageRecord]], words: str) -> None:
    """Without other filters, which leave too few rows for a wrong word to be noticed."""
    history, records = filled
    query = HistoryQuery(text=words)
    assert {record.id for record in all_pages(history, query)} == {r.id for r in records if matches(r, query)}
    if words in ("house", "房子", "雪山", "红色的房子，日落"):
        assert history.search(query).total > 10


@pytest.mark.all_databases
def test_of_these_only(filled: tuple[History, list[ImageRecord]]) -> None:
    history, records = filled
    some = tuple(record.id for record in records[3:9])
    assert {record.id for record in history.search(HistoryQuery(ids=some)).records} == set(some)
    assert history.search(HistoryQuery(ids=("f" * 32,))).total == 0
    others = history.search(HistoryQuery(without=some, limit=1000)).records
    assert {record.id for record in others} == {record.id for record in records} - set(some)


@pytest.mark.all_databases
@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.by_default(
    *(f"sqlite-{name}-{number % 2 == 0}" for number, name in enumerate(SORTS)),
    *("postgresql-created_at-True", "postgresql-rating-False", "postgresql-model-True"),
)
def test_every_column_pages_without_a_filter(
    filled: tuple[History, list[ImageRecord]], sort: str, descending: bool
) -> None:
    history, records = filled
    found = all_pages(history, HistoryQuery(sort=sort, descending=descending, limit=7))
    assert found == sorted(records, key=lambda record: (value(record, sort), record.id), reverse=descending)


@pytest.mark.all_databases
def test_a_image_that_arrives_while_paging_moves_nothing(database: Database, tmp_path: Path) -> None:
    history = History(database, tmp_path)
    records = fill(database, range(20))
    first = history.search(HistoryQuery(limit=10))
    new = history.add(build_image(), None)
    second = history.search(HistoryQuery(limit=10, cursor=first.next_cursor))
    assert {record.id for record in first.records + second.records} == {record.id for record in records}
    assert new.id not in {record.id for record in second.records} and second.total == 21


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("key", "change"),
    [("sort", {"sort": name}) for name in ("prompt", "record", "id; DROP TABLE images", "")]
    + [("limit", {"limit": limit}) for limit in (0, -1, MAX_LIMIT + 1)]
    + [
        ("width", {"width": 2**70}),
        ("height", {"height": -1}),
        ("offset", {"offset": -1}),
        ("seed", {"seed": 2**70}),
        ("options", {"options": {'a"b': 1}}),
        ("options", {"options": {"a": [1]}}),
        ("text", {"text": "x" * (MAX_TEXT + 1)}),
    ]
    + [
        ("cursor", {"cursor": made})
        for made in (
            "",
            "x",
            "红",
            cursor("[]"),
            cursor("{}"),
            cursor("1"),
            cursor('["created_at", true, 5, "a"]'),
            cursor('["created_at", true, "\\ud800", "a"]'),
            cursor('["created_at", true, "2026", 5]'),
            cursor('["created_at", false, "2026", "a"]'),
            cursor('["seed", true, 5, "a"]'),
            cursor("[" * 5000),
        )
    ]
    + [
        ("cursor", {"sort": "seed", "cursor": cursor(f'["seed", true, {made}, "a"]')})
        for made in ("NaN", "1e999", str(2**70), '"5"', "null", "[1]", "true")
    ],
)
def test_what_cannot_be_used_is_named(history: History, key: str, change: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        history.search(HistoryQuery(**change))
    assert caught.value.values["key"] == key


@pytest.mark.all_databases
def test_long_searches_are_no_trouble(filled: tuple[History, list[ImageRecord]]) -> None:
    history, _ = filled
    assert history.search(HistoryQuery(text="a " * (MAX_TEXT // 2))).total > 0
    assert history.search(HistoryQuery(text="%" * MAX_TEXT)).total == 0
    assert history.search(HistoryQuery(text="长" * MAX_TEXT)).total == 0
    assert history.search(HistoryQuery(text="\ud800\0")).total == 0


@pytest.mark.all_databases
def test_an_offset_is_a_place_in_the_sorted_list(filled: tuple[History, list[ImageRecord]]) -> None:
    history, _ = filled
    query = HistoryQuery(text="house", sort="seed", limit=5)
    whole = all_pages(history, query)
    jumped = history.search(replace(query, offset=11))
    assert list(jumped.records) == whole[11:16]
    assert list(history.search(replace(query, cursor=jumped.next_cursor)).records) == whole[16:21]


EVERYTHING = HistoryQuery(
    text="house", model="demo", width=1, height=1, seed=1, format="png", min_steps=1, max_steps=2, min_cfg_scale=1.0,
    max_cfg_scale=2.0, min_rating=1, favourite=True, missing=False, tag="a", collection="b", options={"a": 1},
    since=START, until=START, ids=("a",), without=("b",), parent="c", imported=True,
    unknown=("model", "seed", "num_inference_steps", "cfg_scale", "seconds"),
)  # fmt: skip

IMPORTED = HistoryQuery(imported=True)


@pytest.mark.parametrize("sort", SORTS)
def test_every_question_reads_an_index_alone(tmp_path: Path, sort: str) -> None:
    """Should a column of the filter be missing in an index, each row would be read: 15 times as slow, and nothing else."""
    database = Database(tmp_path / "studio.db")
    with database.reading() as connection:
        for query in (EVERYTHING, *(HistoryQuery(text="house"), HistoryQuery(tag="a"), HistoryQuery(ids=("a",))), IMPORTED):
            asked = asked_by(query, dialect_of(connection))
            for source, index in (
                (asked.walked(), "ix_images_filter"),
                (asked.looked_up(), "ix_images_number (number=?"),
            ):
                statement = f"EXPLAIN QUERY PLAN SELECT number, id, {sort} FROM {source} ORDER BY {sort} LIMIT 5"
                plan = [row.detail for row in connection.execute(text(statement), asked.values)]
                assert any(f"images USING COVERING INDEX {index}" in step for step in plan), (query, plan)
    database.close()


def timed_pages(history: History, rounds: int) -> dict[str, tuple[float, float]]:
    """p95 of one page in milliseconds (of CPU time, by the clock), for kinds of queries; each round from another place."""
    kinds: dict[str, list[HistoryQuery]] = {
        "any order": [HistoryQuery(sort=sort, descending=down) for sort in SORTS for down in (True, False)],
        "model, size": [HistoryQuery(model="demo"), HistoryQuery(width=64, height=2048), HistoryQuery(model="none")],
        "dates": [HistoryQuery(since=START + timedelta(seconds=500), until=START + timedelta(seconds=900))],
        "common word": [HistoryQuery(text="房子"), HistoryQuery(text="red house", sort="seed")],
        "a mark": [HistoryQuery(text="%"), HistoryQuery(text="%", sort="seed")],
        "tag": [HistoryQuery(tag="third"), HistoryQuery(tag="third", collection="fifth", sort="seed")],
        "rare word": [HistoryQuery(text="nowhere"), HistoryQuery(text="无此词", sort="seconds")],
        "steps, guidance, rating": [
            HistoryQuery(min_steps=5, max_steps=8, min_cfg_scale=1.1, min_rating=3, sort="seed")
        ],
        "an advanced option": [HistoryQuery(options={"scheduler.shift": 2.5}, sort="seconds")],
        "words and filters": [HistoryQuery(text="red hou", model="demo", min_rating=2, sort="cfg_scale")],
        "the middle": [HistoryQuery(offset=HISTORY_MIDDLE), HistoryQuery(offset=HISTORY_MIDDLE, sort="seed")],
    }
    figures = {}
    for name, selected in kinds.items():
        taken: list[tuple[float, float]] = []
        for query in selected:
            for _ in range(rounds):
                start, began = time.thread_time(), time.perf_counter()
                page = history.search(query)
                taken.append((time.thread_time() - start, time.perf_counter() - began))
                query = replace(query, cursor=page.next_cursor)
        cpu, clock = (sorted(one[k] for one in taken)[int(len(taken) * 0.95)] * 1000 for k in (0, 1))
        figures[name] = (cpu, clock)
    return figures


@pytest.mark.parametrize(
    ("count", "limit_ms"),
    [
        pytest.param(2_000, 50, id="2k"),
        pytest.param(10_000, 50, id="10k"),
        pytest.param(100_000, 50, id="100k"),
    ],
)
@pytest.mark.slow
def test_a_page_is_quick(
    database: Database, dialect: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, limit_ms: float
) -> None:
    """Judged by CPU time of the thread: a machine that is busy with other work measures the same. Both are printed."""
    fill(database, range(count))
    if dialect == SERVER:  # as its own housekeeping does before long
        with database._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    gc.collect()
    gc.freeze()  # what other tests have loaded is not this one's to walk over: that alone takes half a second
    figures = timed_pages(History(database, tmp_path), rounds=20)
    gc.unfreeze()
    with capsys.disabled():
        print(
            f"\n{dialect}, {count} rows, p95 of a page of 60 in ms (CPU time, by the clock):",
            {name: tuple(round(ms, 1) for ms in both) for name, both in figures.items()},
        )
    assert max(cpu for cpu, _ in figures.values()) < limit_ms


def test_a_member_of_a_list_is_found_by_its_name(history: History) -> None:
    for use in (["ink:0.5"], ["neon:1", "ink:1"], ["inky:1"], []):
        history.add(build_image(options={"lora.use": use}), None)
    found = {
        asked: len(history.search(HistoryQuery(options={"lora.use": asked})).records)
        for asked in ("ink", "ink:1", "neon", "inky", "in", "%")
    }
    assert found == {"ink": 2, "ink:1": 1, "neon": 1, "inky": 1, "in": 0, "%": 0}
    assert history.option_members("lora.use") == {"ink", "neon", "inky"}
    for record in history.search(HistoryQuery(options={"lora.use": "neon"})).records:
        history.trash([record.id])
    assert history.option_members("lora.use") == {"ink", "inky"}
