"""The history in a real Chromium: hostile prompts are text everywhere, keys go on, all that match are chosen by a question."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from core.history.store import History
from core.storage.database import Database
from core.types import HistoryQuery
from tests.browser.chromium import new_page, running_app
from tests.unit.storage.conftest import build_image

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
def past(browser: object, tmp_path_factory: pytest.TempPathFactory):
    """(address, history) of an app with six images, three of them with a hostile prompt; no model is loaded."""
    outputs = tmp_path_factory.mktemp("past")
    history = History(Database(outputs / "studio.db"), outputs)
    for seed in range(6):
        history.add(build_image(prompt=HOSTILE if seed < 3 else "红色的房子", seed=seed, negative_prompt=HOSTILE), None)
    with running_app(outputs, ZDARKROOM_MODEL__PRELOAD="false") as address:
        yield address, history


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


def test_all_but_one_are_chosen_and_marked(past, browser):
    address, history = past
    page, _ = opened(browser, address, "/history?lang=en")
    words = page.locator(".st-key-selection")
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
