"""The History page: one query behind gallery and table, and what can be done with one picture."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from core.types import HistoryQuery, ImageRecord
from tests.ui.conftest import all_text
from ui.components.history_filter import day_range, parse_size


def table(page):
    """The rows of the table view."""
    page.button_group(key="history_view").set_value("table").run()
    assert not page.exception
    return page.dataframe[0].value


def test_the_table_has_one_row_a_picture_newest_first(studio, open_page):
    records = studio.fill_history(5)
    rows = table(open_page("history"))
    assert list(rows["seed"]) == [record.request.seed for record in records]
    assert list(rows["prompt"]) == [record.request.prompt for record in records]
    assert rows["picture"][0] == f"/api/thumbnails/{records[0].id}"


def test_an_empty_history_says_so(studio, open_page):
    assert "No picture fits" in all_text(open_page("history"))


def test_each_filter_reaches_the_query(studio, open_page, monkeypatch):
    studio.fill_history(9)
    asked: list[HistoryQuery] = []
    search = studio.search
    monkeypatch.setattr(studio, "search", lambda query: asked.append(query) or search(query))
    page = open_page("history")
    page.text_input(key="history_text").set_value("雪山")
    page.selectbox(key="history_model").set_value("demo")
    page.selectbox(key="history_size").set_value("320x192")
    page.selectbox(key="history_sort").set_value("seed")
    page.date_input(key="history_dates").set_value((date(2020, 1, 1), date(2030, 1, 1))).run()
    assert not page.exception
    assert asked[-1] == HistoryQuery(
        text="雪山",
        model="demo",
        since=datetime(2020, 1, 1, tzinfo=UTC),
        until=datetime(2030, 1, 1, 23, 59, 59, 999999, tzinfo=UTC),
        width=320,
        height=192,
        sort="seed",
        limit=60,
    )


def test_pages_go_forth_and_back_by_cursor_and_a_filter_starts_again(studio, open_page, monkeypatch):
    studio.fill_history(25)
    monkeypatch.setitem(studio.settings.values, "ui.history_page_size", 10)
    page = open_page("history")
    first = list(table(page)["seed"])
    assert len(first) == 10 and page.button(key="newer").disabled
    page.button(key="older").click().run()
    second = list(page.dataframe[0].value["seed"])
    page.button(key="older").click().run()
    assert len(page.dataframe[0].value) == 5 and page.button(key="older").disabled
    page.button(key="newer").click().run()
    assert list(page.dataframe[0].value["seed"]) == second and not set(first) & set(second)
    page.selectbox(key="history_size").set_value("320x192").run()
    assert "Page 1" in all_text(page)


def detail(studio, open_page) -> tuple[ImageRecord, object]:
    record = studio.fill_history(3)[1]
    changed = replace(
        record.request,
        options={**record.request.options, "vae.enable_tiling": True, "scheduler.shift": 2.0},
        negative_prompt="rain",
        guidance_scale=1.5,
        width=300,
    )
    studio.past.records[1] = replace(record, request=changed)
    return studio.past.records[1], open_page("history", image=record.id)


def test_the_detail_shows_what_was_asked_what_came_and_why(studio, open_page):
    record, page = detail(studio, open_page)
    said = all_text(page)
    tables = "".join(element.proto.body for element in page.get("html"))
    assert record.request.prompt in said
    assert "This processor has no fast bfloat16." in tables
    assert "Tile overlap" in tables and "0.125" in tables
    assert str(record.request.seed) in tables


def test_use_these_settings_fills_the_whole_form(studio, open_page):
    record, page = detail(studio, open_page)
    page.button(key="use_settings").click().run()
    assert not page.exception
    page.button(key="generate").click().run()
    assert studio.queue.submitted == [record.request]


def test_run_again_submits_the_same_request(studio, open_page):
    record, page = detail(studio, open_page)
    page.button(key="run_again").click().run()
    assert studio.queue.submitted == [record.request]
    assert page.query_params["job"] == studio.jobs(1)[0].id


def test_delete_asks_first_and_then_deletes(studio, open_page):
    record, page = detail(studio, open_page)
    assert record in studio.past.records
    page.button(key="delete_now").click().run()
    assert not page.exception
    assert record.id not in {kept.id for kept in studio.past.records}
    assert "image" not in page.query_params


def test_a_picture_that_is_gone_is_said(studio, open_page):
    studio.fill_history(2)
    assert "There is no picture with the id 0123" in all_text(open_page("history", image="0123"))


def test_a_picture_whose_file_is_gone_keeps_its_parameters(studio, open_page):
    record = studio.fill_history(2)[0]
    studio.past.records[0] = replace(record, missing=True)
    assert "The file of this picture is gone" in all_text(open_page("history", image=record.id))


def test_sizes_and_days_are_read_as_people_write_them():
    assert parse_size(" 512 × 288 ") == (512, 288)
    assert parse_size("wide") == parse_size(None) == (None, None)
    since, until = day_range((date(2026, 1, 2), date(2026, 1, 3)), UTC)
    assert until - since == timedelta(days=2) - timedelta(microseconds=1)
    assert day_range((), UTC) == (None, None)
