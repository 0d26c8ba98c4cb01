"""What an imported image does not tell is unknown, which is not 0: in record, rows, filters, exports and the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.history.integrity import rebuild
from core.history.store import History
from core.server.v1 import exports
from core.server.v1.schemas import record_json
from core.storage.database import Database
from core.types import HistoryQuery

from .program_images import INFOTEXT, parameters, png

NUMBERS = ("seed", "num_inference_steps", "cfg_scale")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "studio.db")
    yield opened
    opened.close()


@pytest.fixture
def history(database: Database, tmp_path: Path) -> History:
    return History(database, tmp_path / "outputs")


def test_an_image_that_says_nothing_has_unknown_values(history: History, database: Database, tmp_path: Path) -> None:
    record, _ = history.import_image(png(), "plain.png")
    assert {"prompt", "model", *NUMBERS} <= record.unknown
    assert all(record.known(name) is None for name in NUMBERS) and record.seconds is None
    assert record.known("width") == 64
    rebuild(database, tmp_path / "outputs")
    assert history.get(record.id) == record


def test_what_a_file_tells_is_known(history: History) -> None:
    record, _ = history.import_image(parameters(INFOTEXT), "a1111.png")
    assert [record.known(name) for name in NUMBERS] == [77, 20, 4.5] and record.known("model") == "some-xl"
    assert record.unknown == frozenset()


def test_unknown_matches_no_number(history: History) -> None:
    plain, _ = history.import_image(png(), "plain.png")
    told, _ = history.import_image(parameters(INFOTEXT), "a1111.png")
    queries = [
        HistoryQuery(seed=0),
        HistoryQuery(max_steps=5),
        HistoryQuery(max_cfg_scale=2.0),
        HistoryQuery(min_steps=1, max_steps=10),
    ]
    assert all(history.search(query).records == () for query in queries)
    assert history.search(HistoryQuery(max_steps=100, max_cfg_scale=31.0)).records == (told,)
    assert {record.id for record in history.search(HistoryQuery()).records} == {plain.id, told.id}
    assert [
        record.id for record in history.search(HistoryQuery(sort="num_inference_steps", descending=False)).records
    ] == [plain.id, told.id]


def test_unknown_is_null_in_exports_and_the_api(history: History) -> None:
    record, _ = history.import_image(png(), "plain.png")
    row, answer = exports.row(record), record_json(record)
    assert [row[name] for name in (*NUMBERS, "model", "seconds")] == [None] * 5
    assert [answer["request"][name] for name in (*NUMBERS, "model")] == [None] * 4


def test_a_prompt_of_any_length_and_a_seed_of_64_bits_are_kept(history: History) -> None:
    long, _ = history.import_image(parameters(INFOTEXT.replace("red", "x" * 12_000)), "long.png")
    assert len(long.request.prompt) > 12_000
    large, _ = history.import_image(parameters(INFOTEXT.replace("Seed: 77", f"Seed: {2**64 - 1}")), "large.png")
    assert large.known("seed") == 2**64 - 1 and history.search(HistoryQuery(seed=2**64 - 1)).records == (large,)
    assert exports.row(large)["seed"] == 2**64 - 1
