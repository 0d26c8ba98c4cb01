"""The History page: one query behind gallery and table, and what can be done with one image."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.types import AnnotationChange, DayCount, HistoryQuery, ImageRecord
from tests.options import measured
from tests.ui.conftest import all_text, component_data
from ui.components import history_filter
from ui.components.history_filter import day_range, parse_size


def table(page):
    """The rows of the table view."""
    page.button_group(key="history_view").set_value("table").run()
    assert not page.exception
    return page.dataframe[0].value


def address(page, **parameters: str) -> None:
    """Open another address of the history, as its places and chips do."""
    for name, value in parameters.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception


def test_the_table_has_one_row_a_image_newest_first(studio, open_page):
    records = studio.fill_history(5)
    rows = table(open_page("history"))
    assert list(rows["seed"]) == [record.request.seed for record in records]
    assert list(rows["prompt"]) == [record.request.prompt for record in records]
    assert rows["image"][0] == f"/api/thumbnails/{records[0].id}"


def test_an_empty_history_says_so(studio, open_page):
    assert "No images match" in all_text(open_page("history"))


def test_each_filter_reaches_the_query(studio, open_page, monkeypatch):
    studio.fill_history(9)
    asked: list[HistoryQuery] = []
    search = studio.history.search
    monkeypatch.setattr(studio.history, "search", lambda query: asked.append(query) or search(query))
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
        limit=100,
    )


@pytest.mark.option("ui.history_page_size")
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
    measured("ui.history_page_size", "10: 25 images on pages of 10, 10 and 5, forth and back")
    page.selectbox(key="history_size").set_value("320x192").run()
    assert "Page 1" in all_text(page)


def detail(studio, open_page) -> tuple[ImageRecord, object]:
    record = studio.fill_history(3)[1]
    changed = replace(
        record.request,
        options={**record.request.options, "vae.enable_tiling": True, "scheduler.shift": 2.0},
        negative_prompt="rain",
        cfg_scale=2.5,
        width=300,
    )
    studio.history.records[1] = replace(record, request=changed, width=300, height=192, rendered_size=(304, 192))
    return studio.history.records[1], open_page("history", image=record.id)


def test_the_detail_shows_what_was_asked_what_came_and_why(studio, open_page):
    record, page = detail(studio, open_page)
    said = all_text(page)
    tables = "".join(element.proto.body for element in page.get("html"))
    assert record.request.prompt in said
    assert "This processor has no fast bfloat16." in tables
    assert "Tile overlap" in tables and "0.125" in tables
    assert str(record.request.seed) in tables
    assert "Rendered at 304×192, the next multiple" in tables
    for group, option in (
        ("VAE", "Tile overlap"),
        ("Device and precision", "Precision"),
        ("Time and memory", "decode"),
    ):
        assert 0 <= tables.index(f">{group}</th>") < tables.index(f">{option}"), group
    assert tables.count('<tr class="changed">') == 2 and "(2 changed)" in page.expander[0].label


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
    assert page.query_params["job"] == studio.queue.recent(1)[0].id


def test_the_trash_takes_a_image_and_gives_it_back(studio, open_page):
    record, page = detail(studio, open_page)
    following = studio.history.records[2].id
    page.button(key="trash_one").click().run()
    assert not page.exception and page.query_params["image"] == following
    assert record.id not in studio.history.ids(HistoryQuery())
    page.button(key="close_detail").click().run()
    address(page, show="trash")
    assert [row["prompt"] for _, row in table(page).iterrows()] == [record.request.prompt]
    page.button(key="choose_all").click().run()
    page.button(key="restore").click().run()
    assert record.id in studio.history.ids(HistoryQuery())


def test_emptying_the_trash_deletes_what_is_in_it_and_nothing_else(studio, open_page):
    records = studio.fill_history(3)
    studio.history.trash([records[0].id])
    page = open_page("history", show="trash")
    studio.history.trash([records[1].id])
    page.text_input(key="history_text").set_value(records[0].request.prompt).run()
    assert "2 images and their files" in all_text(page)  # whatever the filter shows
    page.button(key="empty_now").click().run()
    assert not page.exception
    assert len(studio.history.records) == 1


def test_what_is_said_of_one_image_is_kept_at_once(studio, open_page):
    record, page = detail(studio, open_page)
    page.button(key="favourite").click().run()
    key = f"{record.id}_1"
    page.multiselect(key=f"tags_{key}").set_value(["雪", "best"]).run()
    page.text_area(key=f"note_{record.id}_2").set_value("for the wall").run()
    assert not page.exception
    marks = studio.history.get(record.id).marks
    assert (marks.favourite, marks.tags, marks.note) == (True, ("best", "雪"), "for the wall")


def test_many_are_tagged_at_once(studio, open_page):
    studio.fill_history(4)
    page = open_page("history")
    page.button(key="choose_all").click().run()
    page.multiselect(key="add_tags").set_value(["summer"]).run()
    page.button(key="apply_order").click().run()
    assert not page.exception
    assert [record.marks.tags for record in studio.history.records] == [("summer",)] * 4


def test_columns_that_are_equal_everywhere_are_said_once(studio, open_page):
    studio.fill_history(4)
    page = open_page("history")
    rows = table(page)
    assert "model" not in rows and "steps" not in rows and "size" in rows
    assert "Model: demo" in all_text(page)
    page.toggle(key="history_vary").set_value(False).run()
    assert "model" in page.dataframe[0].value


def test_more_filters_reach_the_query(studio, open_page, monkeypatch):
    studio.fill_history(3)
    studio.history.change([studio.history.records[0].id], AnnotationChange(add_tags=("summer",)))
    asked: list[HistoryQuery] = []
    search = studio.history.search
    monkeypatch.setattr(studio.history, "search", lambda query: asked.append(query) or search(query))
    page = open_page("history")
    page.selectbox(key="history_tag").set_value("summer")
    page.number_input(key="history_seed").set_value(7)
    page.number_input(key="history_max_cfg_scale").set_value(2.5)
    page.select_slider(key="history_min_rating").set_value(3)
    page.multiselect(key="history_options").set_value(["vae.enable_tiling", "scheduler.shift"]).run()
    page.selectbox(key="history_value_vae.enable_tiling").set_value("true")
    page.text_input(key="history_value_scheduler.shift").set_value("2.5")
    page.button(key="history_direction").click().run()
    assert not page.exception
    assert asked[-1] == HistoryQuery(
        tag="summer", seed=7, max_cfg_scale=2.5, min_rating=3, descending=False, limit=100,
        options={"vae.enable_tiling": True, "scheduler.shift": 2.5},
    )  # fmt: skip
    page.text_input(key="history_value_scheduler.shift").set_value("![x](http://127.0.0.1:9/)").run()
    assert "scheduler.shift" not in asked[-1].options
    assert "![x](http" in all_text(page) and "![x](http" not in "".join(str(one.value) for one in page.markdown)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"q": "雪山", "show": "favorites"}, {"text": "雪山", "favourite": True}),
        ({"show": "imports", "unknown": "seed,model,prompt"}, {"imported": True, "unknown": ("seed", "model")}),
        ({"show": "missing", "sort": "seed", "order": "asc"}, {"missing": True, "sort": "seed", "descending": False}),
        ({"show": "trash", "tag": "a", "collection": "b"}, {"trashed": True, "tag": "a", "collection": "b"}),
        ({"size": "320x192", "rating": "4", "format": "webp"}, {"width": 320, "height": 192, "min_rating": 4, "format": "webp"}),
        ({"seed": "7", "min_steps": "4", "max_cfg": "2.5"}, {"seed": 7, "min_steps": 4, "max_cfg_scale": 2.5}),
        ({"o.vae.enable_tiling": "true", "o.scheduler.shift": "*"}, {"options": {"vae.enable_tiling": True}}),
        ({"seed": "1e9", "rating": "9", "size": "wide", "since": "soon", "sort": "x", "show": "x", "o.x": "1", "view": "x"}, {}),
    ],
)  # fmt: skip
def test_the_address_is_the_query(studio, open_page, monkeypatch, parameters, expected):
    asked: list[HistoryQuery] = []
    search = studio.history.search
    monkeypatch.setattr(studio.history, "search", lambda query: asked.append(query) or search(query))
    page = open_page("history", **parameters)
    assert asked[-1] == HistoryQuery(limit=100, **expected)
    (chips,) = component_data(page, "chips")
    assert len(chips["chips"]) >= 1


def test_a_chip_for_each_filter(studio, open_page):
    page = open_page("history", q="a <b>", tag="雪", since="2026-01-02", until="2026-01-05", rating="3")
    (chips,) = component_data(page, "chips")
    assert dict(chips["chips"]) == {
        "q": "“a <b>”", "tag": "Tag: 雪", "since": "2026-01-02 – 2026-01-05", "rating": "Min rating: ★★★",
    }  # fmt: skip


def test_places_have_their_counts(studio, open_page):
    first, second, _ = studio.fill_history(3)
    studio.history.change([first.id], AnnotationChange(favourite=True, add_tags=("雪",)))
    studio.history.trash([second.id])
    (places,) = component_data(open_page("history", show="favorites"), "places")
    counts = {item["id"]: item["count"] for section in places["sections"] for item in section["items"]}
    assert counts == {
        "show:": 2, "show:favorites": 1, "tag:雪": 1, "show:imports": 0, "show:missing": 0, "show:trash": 1,
    }  # fmt: skip
    opened = [item["id"] for section in places["sections"] for item in section["items"] if item["open"]]
    assert opened == ["show:favorites"]


def test_statistics_are_by_day_week_or_month():
    def days(length: int) -> list[dict]:
        first = date(2026, 1, 1)  # a Thursday
        return history_filter._columns([DayCount(first, 3, 1.0), DayCount(first + timedelta(days=length), 1, 5.0)])

    assert [len(days(length)) for length in (1, 40)] == [2, 41]
    weeks, months = days(200), days(800)
    assert (len(weeks), weeks[0]["id"], weeks[0]["images"]) == (30, "since=2025-12-29&until=2026-01-04", 3)
    assert (len(months), months[1]["id"], months[-1]["seconds"]) == (27, "since=2026-02-01&until=2026-02-28", 5.0)
    assert history_filter._columns([DayCount(date(2026, 1, 1), 3, None)])[0]["seconds"] is None
    assert history_filter._columns([]) == []


def test_an_import_tells_what_failed(studio, open_page, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(image_of(name))
    (tmp_path / "broken.png").write_bytes(b"none")
    page = open_page("history")
    page.button(key="open_import").click().run()
    page.text_input(key="import_folder").set_value(str(tmp_path)).run()
    page.button(key="take_in_folder").click().run()
    assert not page.exception and studio.history.counts().all == 2
    assert "imported: 2 · already here: 0 · failed: 1" in [toast.value for toast in page.toast]
    assert "broken.png" in all_text(page)
    page.switch_page("views/generate.py").run()
    assert not page.exception and "broken.png" not in all_text(page)
    page.switch_page("views/history.py").run()
    assert "broken.png" not in all_text(page)
    page.button(key="open_import").click().run()
    page.text_input(key="import_folder").set_value(str(tmp_path)).run()
    page.button(key="take_in_folder").click().run()
    page.button(key="history0_close").click().run()
    assert "broken.png" not in all_text(page)


def test_one_card_lists_every_file_that_was_not_imported(studio, open_page, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "good.png")
    for number in range(12):
        (tmp_path / f"bad{number:02}.png").write_bytes(b"no image <b>")
    page = open_page("history")
    page.button(key="open_import").click().run()
    page.text_input(key="import_folder").set_value(str(tmp_path)).run()
    page.button(key="take_in_folder").click().run()
    assert "imported: 1 · already here: 0 · failed: 12" in [toast.value for toast in page.toast]
    (card,) = [one.proto.body for one in page.get("html") if "Not imported: 12 files" in one.proto.body]
    assert all(f"<dt>bad{number:02}.png</dt><dd>" in card for number in range(12))
    assert page.button(key="history_files_close")
    page.button(key="history_files_close").click().run()
    assert not [one for one in page.get("html") if "Not imported" in one.proto.body]


def test_all_that_was_found_is_chosen_without_its_ids(studio, open_page):
    studio.fill_history(9)
    page = open_page("history")
    page.selectbox(key="history_size").set_value("320x192").run()
    page.button(key="choose_all").click().run()
    assert "3 of 3 selected" in all_text(page)
    selected = page.session_state["selected_images"]
    assert isinstance(selected, HistoryQuery) and (selected.width, selected.ids) == (320, ())
    late = studio.history.generated(studio.history.records[0].request)  # made after it was chosen
    studio.history.records[0] = replace(late, width=320, height=192)
    page.session_state["selected_images"] = replace(selected, without=(studio.history.ids(selected)[0],))
    page.run()
    assert "2 of 4 selected" in all_text(page)
    page.button(key="trash_chosen").click().run()
    assert not page.exception
    gone = [record for record in studio.history.records if record.trashed_at]
    assert len(gone) == 2 and late.id not in {record.id for record in gone}
    assert page.session_state["selected_images"] == ()


def test_another_filter_lets_go_of_all_but_not_of_single_ones(studio, open_page):
    records = studio.fill_history(6)
    page = open_page("history")
    page.button(key="choose_all").click().run()
    address(page, size="320x192")
    assert "2 images" in all_text(page) and page.session_state["selected_images"] == ()
    page.session_state["selected_images"] = (records[0].id,)
    address(page, size="256x256")
    assert page.session_state["selected_images"] == (records[0].id,)


def test_a_image_that_is_gone_is_said(studio, open_page):
    studio.fill_history(2)
    assert "There is no image with the id 0123" in all_text(open_page("history", image="0123"))


def test_a_image_whose_file_is_gone_keeps_its_parameters(studio, open_page):
    record = studio.fill_history(2)[0]
    studio.history.records[0] = replace(record, missing=True)
    assert "The file of this image is missing" in all_text(open_page("history", image=record.id))


def test_sizes_and_days_are_read_as_people_write_them():
    assert parse_size(" 512 × 288 ") == (512, 288)
    assert parse_size("wide") == parse_size(None) == (None, None)
    since, until = day_range((date(2026, 1, 2), date(2026, 1, 3)), UTC)
    assert until - since == timedelta(days=2) - timedelta(microseconds=1)
    assert day_range((), UTC) == (None, None)


def test_the_detail_goes_on_to_its_neighbours(studio, open_page):
    records = studio.fill_history(3)
    page = open_page("history", image=records[1].id)
    page.button(key="step_after").click().run()
    assert page.query_params["image"] == records[2].id
    page.button(key="step_after").click().run()
    assert page.query_params["image"] == records[2].id  # the end
    page.button(key="step_before").click().run()
    assert page.query_params["image"] == records[1].id


def image_of(parameters: str) -> bytes:
    chunks = PngInfo()
    chunks.add_itxt("parameters", parameters)
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def test_a_dropped_image_shows_its_parameters_and_they_can_be_used(studio, open_page):
    page = open_page("history")
    data = image_of("a <b>red</b> house\nNegative prompt: rain\nSteps: 20, Sampler: Euler a, CFG scale: 4.5, Seed: 77, "
                      "Size: 640x384, Model: other")  # fmt: skip
    page.button(key="open_import").click().run()
    page.file_uploader(key="import_files").upload("one.png", data, "image/png").run()
    assert not page.exception
    tables = "".join(element.proto.body for element in page.get("html"))
    assert "a &lt;b&gt;red&lt;/b&gt; house" in tables and "euler_ancestral" in tables and "<b>red" not in tables
    page.button(key="use_found_0").click().run()
    page.button(key="generate").click().run()
    assert not page.exception
    (asked,) = studio.queue.submitted
    assert (asked.prompt, asked.negative_prompt) == ("a <b>red</b> house", "rain")
    assert (asked.num_inference_steps, asked.cfg_scale, asked.seed) == (20, 4.5, 77)
    assert (asked.width, asked.height, asked.model) == (640, 384, "demo")


def test_dropped_images_and_folders_are_taken_in(studio, open_page, tmp_path):
    page = open_page("history")
    page.button(key="open_import").click().run()
    page.file_uploader(key="import_files").upload("one.png", image_of("x"), "image/png").run()
    page.button(key="take_in").click().run()
    assert [record.request.prompt for record in studio.history.records] == ["x"]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "two.png").write_bytes(image_of("y"))
    (folder / "notes.txt").touch()
    page.button(key="open_import").click().run()
    page.text_input(key="import_folder").set_value(str(folder)).run()
    page.button(key="take_in_folder").click().run()
    assert not page.exception
    assert [record.request.prompt for record in studio.history.records] == ["y", "x"]
    page.button(key="open_import").click().run()
    page.text_input(key="import_folder").set_value(str(folder / "none")).run()
    page.button(key="take_in_folder").click().run()
    assert "cannot be imported" in "".join(element.proto.body for element in page.get("html"))


def test_compared_images_show_what_differs_and_nothing_else(studio, open_page):
    records = studio.fill_history(2)
    page = open_page("compare", ids=",".join(record.id for record in records))
    tables = "".join(element.proto.body for element in page.get("html"))
    assert "Seed" in tables and records[0].request.prompt in tables
    assert "<th>Seed" in tables and "<th>Steps" not in tables and "<th>Model" not in tables
    assert "different sizes" in all_text(page)


def test_two_of_one_size_have_figures_and_a_map(studio, open_page):
    first = studio.fill_history(1)[0]
    again = studio.history.generated(first.request)
    other = studio.history.generated(replace(first.request, seed=99))
    page = open_page("compare", ids=f"{first.id},{again.id}")
    assert "Identical, pixel by pixel." in all_text(page)
    page = open_page("compare", ids=f"{first.id},{other.id}")
    page.button_group(key="compare_view").set_value("map").run()
    assert not page.exception and "PSNR" in all_text(page)


def test_a_compared_image_is_made_a_favorite_and_opened(studio, open_page):
    first, second = studio.fill_history(2)
    page = open_page("compare", ids=f"{first.id},{second.id}")
    page.button(key="compare_favourite_2").click().run()
    assert not page.exception and studio.history.get(second.id).marks.favourite
    page.button(key="compare_open_1").click().run()
    assert not page.exception and page.query_params["image"] == first.id


def test_one_image_is_not_compared(studio, open_page):
    assert "Select 2 to 9" in all_text(open_page("compare", ids=studio.fill_history(1)[0].id))


UNKNOWN = frozenset({"prompt", "negative_prompt", "model", "seed", "num_inference_steps", "cfg_scale"})


def imported(studio, open_page, unknown, **known):
    """The detail of an imported image that does not tell `unknown`."""
    record = studio.fill_history(1)[0]
    placeholder = replace(record.request, model="", seed=0, options={}, **known)
    told = replace(record, request=placeholder, unknown=unknown, effective={"taken_in_from": "Other"}, timings={}, decisions=())
    studio.history.records[0] = told
    page = open_page("history", image=told.id)
    assert not page.exception
    return page


def test_the_detail_of_an_imported_image_invents_nothing(studio, open_page):
    page = imported(studio, open_page, UNKNOWN)
    tables = "".join(element.proto.body for element in page.get("html"))
    assert tables.count("unknown") >= 4 and "0.00 s" not in tables
    assert page.button(key="use_settings").disabled


def test_settings_of_an_imported_image_keep_the_present_model(studio, open_page):
    page = imported(studio, open_page, UNKNOWN - {"prompt"}, prompt="a house from elsewhere")
    page.button(key="use_settings").click().run()
    assert not page.exception
    assert "Embedded model stays selected" in page.toast[0].value
    page.button(key="generate").click().run()
    assert not page.toast  # once
    request = studio.queue.submitted[0]
    assert (request.prompt, request.model) == ("a house from elsewhere", "demo")
