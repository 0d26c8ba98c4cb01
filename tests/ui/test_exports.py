"""What was found, to take along: tables and archives, made while they are sent."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from starlette.testclient import TestClient

from core.config.options import SCHEMA
from core.errors import OptionError
from core.history import csv_safe
from core.server import create_api
from core.server.listing import read_query, write_query
from core.server.v1 import exports
from core.types import AnnotationChange, HistoryQuery

QUERY = HistoryQuery(text="雪山", tag="a", min_cfg_scale=1.5, options={"vae.enable_tiling": True}, ids=("a", "b"),
                     since=datetime(2026, 3, 1, tzinfo=UTC), trashed=True, descending=False)  # fmt: skip


@pytest.fixture
def client(studio) -> TestClient:
    return TestClient(create_api(lambda: studio), base_url="http://127.0.0.1:8501")


def test_a_question_survives_its_address():
    assert read_query(write_query(QUERY)) == QUERY
    assert write_query(HistoryQuery()) == write_query(HistoryQuery(text=""))


@given(st.text() | st.binary().map(lambda data: __import__("base64").urlsafe_b64encode(data).decode()))
def test_any_other_word_is_an_error_that_says_so(word):
    try:
        assert isinstance(read_query(word), HistoryQuery)
    except OptionError as error:
        assert error.values["key"] == "query"


@pytest.mark.parametrize(
    "data", ['{"limit": "5"}', '{"limit": true}', '{"nothing": 1}', "[]", '{"since": "2026-01-01"}']
)
def test_a_field_of_the_wrong_kind_is_refused(data):
    with pytest.raises(OptionError):
        read_query(__import__("base64").urlsafe_b64encode(data.encode()).decode())


def test_the_gallery_gets_the_part_that_it_asks_for(studio, client):
    records = studio.fill_history(9)
    answer = client.get(f"/history?query={write_query(HistoryQuery())}&offset=4&limit=3")
    assert answer.json()["total"] == 9
    assert [item["id"] for item in answer.json()["items"]] == [record.id for record in records[4:7]]
    assert client.get("/history?query=x").status_code == 422
    assert client.get("/history?offset=many").status_code == 422


def test_the_csv_has_every_row_and_no_formula(studio, client, monkeypatch):
    monkeypatch.setattr(exports, "PAGE", 2)
    records = studio.fill_history(5)
    evil = replace(
        records[1], request=replace(records[1].request, prompt='=HYPERLINK("http://a")', negative_prompt="@x")
    )
    studio.history.records[1] = evil
    studio.history.change([records[0].id], AnnotationChange(add_tags=("-1+1", "雪"), note="\tx"))
    rows = list(csv.DictReader(io.StringIO(client.get("/exports/csv").content.decode("utf-8-sig"))))
    assert [row["id"] for row in rows] == [record.id for record in records]
    assert rows[1]["prompt"] == '\'=HYPERLINK("http://a")' and rows[1]["negative_prompt"] == "'@x"
    for start in csv_safe.FORMULA:
        assert csv_safe.harmless(f"{start}1+1") == f"'{start}1+1"
    assert csv_safe.harmless("1=1") == "1=1" and csv_safe.harmless(-1) == -1
    assert rows[0]["tags"] == "'-1+1; 雪" and rows[0]["note"] == "'\tx"
    assert set(rows[0]) >= {option.key for option in SCHEMA.request_options()}


def test_parquet_keeps_kinds(studio, client):
    records = studio.fill_history(3)
    frame = parquet.read_table(io.BytesIO(client.get("/exports/parquet").content))
    assert frame.column("seed").to_pylist() == [record.request.seed for record in records]
    assert str(frame.schema.field("cfg_scale").type) == "double"
    assert frame.column("prompt").to_pylist()[0] == records[0].request.prompt


def test_the_archive_has_images_parameters_and_the_table(studio, client):
    records = studio.fill_history(3)
    studio.history.file(records[2].id).unlink()
    (studio.history.folder / "half.png").touch()
    query = write_query(HistoryQuery(ids=tuple(record.id for record in records[:2])))
    bundle = zipfile.ZipFile(io.BytesIO(client.get(f"/exports/zip?query={query}").content))
    assert bundle.testzip() is None
    names = [name for record in records[:2] for name in (record.file, f"{record.file}.json")]
    assert bundle.namelist() == [*names, "history.csv"]
    assert bundle.read(records[0].file) == studio.history.file(records[0].id).read_bytes()
    assert json.loads(bundle.read(f"{records[0].file}.json"))["prompt"] == records[0].request.prompt


def test_the_archive_is_sent_while_it_is_made(studio):
    """No part is as large as what went before it: nothing is kept until the end."""
    studio.fill_history(6)
    parts = [len(part) for part in exports.archive(studio, HistoryQuery(limit=2))]
    assert sum(parts) > 6 * max(parts[:-1]) / 2 and max(parts) < 2 * exports.ZIP_PART


def test_there_is_no_other_kind(client):
    assert client.get("/exports/exe").status_code == 404
