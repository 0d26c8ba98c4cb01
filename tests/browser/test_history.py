"""The history in a real Chromium: hostile prompts are text everywhere, keys go on, all that match are chosen by a question."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.history.store import History
from core.storage.database import Database
from core.types import AnnotationChange, HistoryQuery
from tests.browser.chromium import new_page, running_app
from tests.unit.storage.conftest import a1111_image, build_image
from tests.unit.storage.test_storage_search import fill

pytestmark = pytest.mark.browser
ELSEWHERE = "http://127.0.0.1:9/"
HOSTILE = (
    f"<img src=x onerror=\"document.title='owned'\"> **bold** $x^2$ :red[word] [a]({ELSEWHERE}) ![b]({ELSEWHERE}b.png)"
)
# Elements that a prompt has become, in the page and in the shadows of its components.
MARKUP = """() => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap((one) => one.shadowRoot ? [one, ...all(one.shadowRoot)] : [one]);
  return all(document).filter((one) => one.matches("img[onerror], img[src='x'], img[src*=':9/'], a[href*=':9/'], .katex")
    || (["B", "STRONG"].includes(one.tagName) && one.textContent === "bold")).map((one) => one.outerHTML);
}"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory):
    database = Database(tmp_path_factory.mktemp("past") / "studio.db")
    yield database
    database.close()


@pytest.fixture(scope="module")
def past(browser: object, database: Database):
    """(address, history) of an app with six images, three of them with a hostile prompt; no model is loaded."""
    outputs = Path(database.name).parent
    history = History(database, outputs)
    for seed in range(6):
        history.add(build_image(prompt=HOSTILE if seed < 3 else "红色的房子", seed=seed, negative_prompt=HOSTILE), None)
    with running_app(outputs, ZDARKROOM_MODEL__PRELOAD="false") as address:
        yield address, history


@pytest.fixture
def without_imports(past):
    """Delete what a test imports, however it ends: the tests after it, and its second try, begin without."""
    yield
    delete_imports(past[1])


def delete_imports(history: History) -> None:
    """Delete them for good: a file that is in the trash is known, and is not imported again."""
    history.trash(HistoryQuery(imported=True))
    history.empty_trash()


def opened(browser, address: str, path: str) -> tuple[Page, list[str]]:
    """A page, and what it asked for elsewhere."""
    page, asked = new_page(browser), []
    page.on("request", lambda request: asked.append(request.url) if ":9/" in request.url else None)
    page.goto(f"{address}{path}")
    return page, asked


def assert_text_only(page: Page, asked: list[str]) -> None:
    page.wait_for_timeout(500)
    assert page.evaluate(MARKUP) == [] and asked == [] and "owned" not in page.title()


def test_a_hostile_prompt_is_text_wherever_it_is_shown(past, browser):
    address, history = past
    ids = history.ids(HistoryQuery(descending=False))
    page, asked = opened(browser, address, "/history?lang=en")
    tiles = page.locator(".st-key-gallery .tile img")
    expect(tiles).to_have_count(6)
    assert HOSTILE in tiles.evaluate_all("all => all.map((one) => one.alt)")
    page.locator(".st-key-gallery .tile").last.click()
    expect(page.locator(".st-key-detail code").first).to_have_text(HOSTILE)
    assert_text_only(page, asked)
    page.locator(".st-key-history_view button").nth(1).click()
    page.get_by_test_id("stDataFrame").wait_for()
    assert_text_only(page, asked)
    page.goto(f"{address}/compare?lang=en&ids={ids[0]},{ids[4]}")
    expect(page.locator(".zd-table td").first).to_have_text(HOSTILE)
    assert_text_only(page, asked)
    page.close()


@pytest.mark.slow
def test_arrows_go_to_the_next_image_from_wherever_the_keyboard_is(past, browser):
    address, history = past
    ids = history.ids(HistoryQuery())
    page, _ = opened(browser, address, "/history?lang=en")
    tiles = page.locator(".st-key-gallery .tile")
    tiles.nth(1).click()
    expect(page).to_have_url(re.compile(ids[1]))
    expect(page.locator(".st-key-detail_zoom .zoom img")).to_be_visible()
    expect(page.locator(".st-key-gallery .tile.open")).to_be_focused()  # though the detail has moved the tiles
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(ids[2]))
    page.locator(".st-key-detail_zoom .zoom").click()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(ids[3]))
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile(ids[2]))
    page.close()


@pytest.mark.slow
def test_all_but_one_are_chosen_and_marked(past, browser):
    address, history = past
    page, _ = opened(browser, address, "/history?lang=en")
    words = page.locator(".st-key-selection_bar")
    page.locator(".st-key-choose_all button").click()
    expect(words).to_contain_text("6 of 6 selected")
    page.locator(".st-key-gallery .tile").first.locator(".mark").click()
    expect(words).to_contain_text("5 of 6 selected")
    page.locator(".st-key-keep_order button").first.click()
    page.get_by_text("Yes", exact=True).click()
    page.get_by_role("button", name="Apply to 5").click()
    expect(page.locator(".st-key-gallery .note").filter(has_text="♥")).to_have_count(5)
    assert history.search(HistoryQuery(favourite=True)).total == 5
    assert [record.id for record in history.search(HistoryQuery(favourite=False)).records] == [
        history.ids(HistoryQuery())[0]
    ]
    page.close()


def place(page: Page, name: str):
    """A place of the list beside the gallery."""
    return page.locator(".st-key-places .place").filter(has_text=name)


def tiles_of(page: Page):
    return page.locator(".st-key-gallery .tile")


def test_search_and_filters_survive_a_reload_and_another_page(past, browser):
    address, history = past
    history.change([history.ids(HistoryQuery(seed=4))[0]], AnnotationChange(add_tags=("雪",)))
    page, _ = opened(browser, address, "/history?lang=en")
    expect(tiles_of(page)).to_have_count(6)
    page.get_by_label("Search", exact=True).fill("红色")
    page.get_by_label("Search", exact=True).press("Enter")
    expect(tiles_of(page)).to_have_count(3)
    place(page, "雪").click()
    expect(tiles_of(page)).to_have_count(1)
    page.reload()
    expect(tiles_of(page)).to_have_count(1)
    expect(page.get_by_label("Search", exact=True)).to_have_value("红色")
    page.get_by_role("link", name="System").click()
    page.locator(".zd-card").first.wait_for()
    page.get_by_role("link", name="History").click()
    expect(tiles_of(page)).to_have_count(1)
    expect(page).to_have_url(re.compile("tag=.*"))
    page.get_by_role("button", name="Remove filter: Tag: 雪").click()
    expect(tiles_of(page)).to_have_count(3)
    page.go_back()
    expect(tiles_of(page)).to_have_count(1)
    page.go_forward()
    expect(tiles_of(page)).to_have_count(3)
    page.get_by_role("button", name="Clear all").click()
    expect(tiles_of(page)).to_have_count(6)
    expect(page.get_by_label("Search", exact=True)).to_have_value("")
    assert "q=" not in page.url and "tag=" not in page.url
    page.close()


def test_keys_rate_select_trash_and_undo(past, browser):
    address, history = past
    ids = history.ids(HistoryQuery())
    page, _ = opened(browser, address, "/history?lang=en")
    tiles_of(page).nth(1).focus()
    page.keyboard.press("4")
    expect(tiles_of(page).nth(1).locator(".note")).to_contain_text("★★★★")
    assert history.get(ids[1]).marks.rating == 4
    page.keyboard.press("Control+a")
    expect(page.locator(".st-key-selection_bar")).to_contain_text("6 of 6 selected")
    page.keyboard.press("Escape")
    expect(page.locator(".st-key-selection_bar")).to_have_count(0)
    page.keyboard.press("Delete")
    expect(tiles_of(page)).to_have_count(5)
    expect(place(page, "Trash")).to_contain_text("1")
    page.get_by_role("button", name="Undo").click()
    expect(tiles_of(page)).to_have_count(6)
    assert history.get(ids[1]).trashed_at is None and history.get(ids[1]).marks.rating == 4
    page.get_by_label("Search", exact=True).click()
    page.keyboard.type("f5")  # typed, and no more than that
    expect(page.get_by_label("Search", exact=True)).to_have_value("f5")
    assert history.search(HistoryQuery(min_rating=5)).total == 0
    page.close()


@pytest.mark.slow
def test_a_double_click_opens_the_image_over_the_whole_window(past, browser):
    address, history = past
    ids = history.ids(HistoryQuery())
    history.change(ids, AnnotationChange(favourite=False))
    page, _ = opened(browser, address, "/history?lang=en")
    expect(tiles_of(page)).to_have_count(6)
    tiles_of(page).nth(2).dblclick()
    light = page.locator(".st-key-detail_zoom dialog[open]")
    expect(light).to_be_visible()
    expect(light.locator("img")).to_have_attribute("src", f"/api/images/{ids[2]}")
    page.keyboard.press("+")
    expect(light.locator(".full")).to_have_class(re.compile("near"))
    page.keyboard.press("ArrowRight")
    expect(light.locator("img")).to_have_attribute("src", f"/api/images/{ids[3]}")
    page.keyboard.press("f")
    expect(place(page, "Favorites")).to_contain_text("1")
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    expect(light).to_have_count(0)
    expect(page.locator(".st-key-detail_zoom .zoom")).to_be_visible()  # Esc closed one of the two
    page.keyboard.press("Escape")
    expect(page.locator(".st-key-detail_zoom")).to_have_count(0)
    page.close()


@pytest.mark.slow
def test_a_click_on_a_row_opens_its_image(past, browser):
    address, history = past
    ids = history.ids(HistoryQuery())
    page, _ = opened(browser, address, "/history?lang=en&view=table")
    table = page.get_by_test_id("stDataFrame")
    table.wait_for()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 300, box["y"] + 36 + 56 * 2.5)
    expect(page).to_have_url(re.compile(ids[2]))
    expect(page.locator(".st-key-detail_zoom .zoom img")).to_be_visible()
    expect(page.locator(".st-key-selection_bar")).to_have_count(0)
    page.close()


@pytest.mark.slow
def test_a_click_in_the_statistics_filters(past, browser):
    address, _ = past
    page, _ = opened(browser, address, "/history?lang=en&view=statistics&q=红色")
    line = page.locator(".st-key-statistics polyline")
    expect(line).to_have_attribute("points", re.compile(r"^\S+ \S+"))  # from somewhere to somewhere, also of a single day
    page.locator(".st-key-statistics .plot button").first.click()
    expect(tiles_of(page)).to_have_count(3)
    expect(page).to_have_url(re.compile("since="))
    page.close()


@pytest.mark.slow
def test_two_images_are_compared_by_slider_map_and_what_differs(past, browser):
    address, history = past
    ids = history.ids(HistoryQuery(descending=False))
    page, _ = opened(browser, address, f"/compare?lang=en&ids={ids[3]},{ids[4]}")
    table = page.locator(".zd-table")
    expect(table).to_contain_text("Seed")
    expect(table).not_to_contain_text("Steps")  # they are equal
    expect(page.locator(".stMain")).to_contain_text(re.compile(r"\d+ equal parameters are hidden"))
    slider = page.locator(".st-key-compare_slider input[type=range]")
    slider.focus()
    page.keyboard.press("End")
    at = "box => getComputedStyle(box).getPropertyValue('--at').trim()"
    assert page.locator(".st-key-compare_slider .slider").evaluate(at) == "100%"
    page.get_by_text("Difference map", exact=True).click()
    heat = page.locator(".st-key-heat img")
    expect(heat).to_have_attribute("src", re.compile("difference"))
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=heat.element_handle())
    page.close()


@pytest.mark.slow
def test_an_import_shows_its_progress_and_can_be_cancelled(past, browser, tmp_path, without_imports):
    address, history = past
    count = 3000  # takes many times as long as a browser needs to show it and to click
    for number in range(count):
        data = a1111_image(f"import {number}\nSteps: 20, Sampler: Euler a, CFG scale: 4.5, Seed: {number}, Size: 64x48")
        (tmp_path / f"{number}.png").write_bytes(data)
    page, _ = opened(browser, address, "/history?lang=en")
    page.locator(".st-key-open_import button").click()
    page.locator(".st-key-import_files input[type=file]").set_input_files(
        {"name": "one.png", "mimeType": "image/png", "buffer": a1111_image("an uploaded castle\nSteps: 20, Seed: 7, Size: 64x48")}
    )
    page.get_by_role("button", name="Import 1 into the history").click()
    expect(place(page, "Imports")).to_contain_text("1")
    page.locator(".st-key-open_import button").click()
    page.get_by_label("Or a folder on this machine").fill(str(tmp_path))
    page.get_by_role("button", name="Import folder").click()
    expect(page.get_by_text(re.compile(rf"Importing \d+ of {count}"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    imported = history.search(HistoryQuery(imported=True)).total
    assert 0 < imported < count
    expect(place(page, "Imports")).to_contain_text(str(imported))
    place(page, "Imports").click()
    expect(page.locator(".st-key-selection")).to_contain_text(f"{imported} images")
    page.close()


@pytest.mark.slow
def test_an_imported_image_tells_what_it_knows_and_keeps_the_present_model(past, browser, without_imports):
    """One file without any parameters, and one that names a model that is not here."""
    address, history = past
    for told in ("", "a castle from elsewhere\nSteps: 20, Seed: 7, Size: 64x48, Model: somebody's"):
        page, _ = opened(browser, address, "/history?lang=en")
        page.locator(".st-key-open_import button").click()
        page.locator(".st-key-import_files input[type=file]").set_input_files(
            {"name": "one.png", "mimeType": "image/png", "buffer": a1111_image(told)}
        )
        dialog = page.get_by_role("dialog")
        if told:  # field by field, before it is saved
            for field in ("a castle from elsewhere", "Steps", "20", "Seed", "7"):
                expect(dialog.locator("table").first).to_contain_text(field)
        else:
            expect(dialog).to_contain_text("one.png")
        page.get_by_role("button", name="Import 1 into the history").click()
        expect(place(page, "Imports")).to_contain_text("1")
        place(page, "Imports").click()
        expect(tiles_of(page)).to_have_count(1)
        tiles_of(page).click()
        detail = page.locator(".st-key-detail")
        if not told:
            expect(detail).to_contain_text("unknown")
            expect(detail).not_to_contain_text("0.00 s")
            expect(page.locator(".st-key-use_settings button").first).to_be_disabled()
        else:
            page.locator(".st-key-use_settings button:visible").first.click()
            expect(page.locator(".st-key-prompt textarea")).to_have_value("a castle from elsewhere")
            expect(page.locator(".st-key-w-model-id input")).to_have_value("Embedded model")
            expect(page.get_by_test_id("stToast").filter(has_text="Embedded model stays selected")).to_be_visible()
            expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
            expect(page.locator(".stMain")).not_to_contain_text("There is no model")
        page.close()
        delete_imports(history)


def test_a_range_takes_images_that_were_never_in_view(past, database, browser):
    """The last test here: it puts 350 images in place of the six."""
    address, _ = past
    fill(database, range(350))
    page, _ = opened(browser, address, "/history?lang=en")
    tiles_of(page).first.locator(".mark").click()
    bar = page.locator(".st-key-selection_bar")
    expect(bar).to_contain_text(re.compile(r"1 of 35[06] selected"))  # with the six, where the app is just looking for files
    page.locator(".st-key-gallery .grid").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    last = page.locator(".st-key-gallery .tile[data-place='349'][data-id]")
    last.click(modifiers=["Shift"])
    expect(bar).to_contain_text(re.compile(r"350 of 35[06] selected"))
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize(("language", "refused"), [("en", "Not unlocked"), ("zh", "未能解锁")], ids=["en", "zh"])
def test_a_hidden_collection_is_out_of_sight_until_its_password_is_typed(past, browser, language, refused):
    address, history = past
    (image,) = history.ids(HistoryQuery(seed=5))
    history.change([image], AnnotationChange(add_collections=("private",)))
    page, _ = opened(browser, address, f"/history?lang={language}")
    expect(tiles_of(page)).to_have_count(6)

    def act(verb: str, password: str) -> None:
        if not page.locator(".st-key-hidden_name").is_visible():
            page.locator(".st-key-hidden_menu button").first.click()
        page.locator(".st-key-hidden_name input").fill("private")
        page.locator(".st-key-hidden_password input").fill(password)
        page.locator(f".st-key-hidden_{verb} button").click()

    act("hide", "correct horse")
    expect(tiles_of(page)).to_have_count(5)
    expect(place(page, "private")).to_have_count(0)
    assert page.request.get(f"{address}/api/images/{image}").status == 404
    act("unlock", "wrong horse!")
    expect(page.get_by_text(refused, exact=True)).to_be_visible()
    expect(tiles_of(page)).to_have_count(5)
    act("unlock", "correct horse")
    expect(tiles_of(page)).to_have_count(6)
    page.keyboard.press("Escape")
    page.locator(".st-key-hidden_lock button").click()
    expect(tiles_of(page)).to_have_count(5)
    act("show", "correct horse")
    expect(tiles_of(page)).to_have_count(6)
    history.change([image], AnnotationChange(remove_collections=("private",)))
    page.close()
