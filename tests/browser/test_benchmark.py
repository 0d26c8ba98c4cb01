"""The benchmark page in a real browser: two option sets of the embedded model are drawn, F5 in between, read, voted on by
keyboard, and taken along."""

from __future__ import annotations

import os
import re
import urllib.request
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from PIL import Image
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE, new_page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
SHOTS = os.environ.get("COMPARISON_SHOTS")  # a folder, to look at the page
VIEWS = {"Table": "table", "Images": "images", "Blind vote": "vote"}
NAMES = {"table": "表格", "images": "图片", "vote": "盲选"}


def shoot(page, name):
    if SHOTS:
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def fill(page, label, text, which=0):
    field = page.get_by_label(label, exact=True).nth(which)
    field.fill(text)
    field.press("Tab")


@pytest.mark.slow
def test_two_option_sets_from_the_form_to_the_vote(real_app, browser):
    page = new_page(browser)
    page.goto(f"{real_app}/comparison?lang=en")
    page.locator(".st-key-start_benchmark button").wait_for()
    shoot(page, "form")
    fill(page, "Prompts, one per line", "a red house in a meadow at sunset, snowy mountains\n夜晚，雪地，黄色的灯塔")
    fill(page, "Seeds, separated by commas", "7, 8")
    fill(page, "Overrides for all columns", "width = 96\nheight = 96\nnum_inference_steps = 2")
    fill(page, "Overrides", "num_inference_steps = 1", which=1)
    page.locator(".st-key-start_benchmark button").click()
    expect(page.locator(".st-key-cancel_benchmark")).to_be_visible()
    page.reload()
    expect(page.locator(".zd-figures")).to_contain_text("/ 4")
    shoot(page, "running")
    expect(page.get_by_role("link", name="Table (CSV)")).to_be_visible(timeout=3 * PATIENCE)
    expect(page.locator(".zd-figures tr").nth(1)).to_have_text(re.compile(r"Images\s*4 / 4\s*4 / 4"))
    assert page.locator(".zd-figures tr").count() == 12
    look_at(page, real_app, "table")

    page.get_by_role("radio", name="Images").or_(page.get_by_role("button", name="Images")).first.click()
    expect(page.locator(".zd-cells img")).to_have_count(8)
    assert page.locator(".zd-cells img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    look_at(page, real_app, "images")

    page.get_by_role("radio", name="Blind vote").or_(page.get_by_role("button", name="Blind vote")).first.click()
    for number, key in enumerate(("ArrowLeft", "ArrowRight", "ArrowDown"), start=1):
        expect(page.locator(".stMain")).to_contain_text(f"Pair {number} of 4")
        expect(page.locator(".st-key-vote_pair img")).to_have_count(2)
        assert "num_inference_steps" not in page.locator(".stMain").inner_text() or number > 1
        if number == 3:
            look_at(page, real_app, "vote")
        page.keyboard.press(key)
    expect(page.locator(".stMain")).to_contain_text("Pair 4 of 4")
    page.locator(".st-key-vote_right button").click()
    expect(page.locator(".stMain")).to_contain_text("You have voted on all 4 pairs")

    address = page.url.split("comparison=")[1].split("&")[0]
    table = urllib.request.urlopen(f"{real_app}/api/comparisons/{address}/table", timeout=60).read().decode("utf-8-sig")
    assert table.count("demo") >= 2 and "load_seconds" in table.splitlines()[0]
    sheet = urllib.request.urlopen(f"{real_app}/api/comparisons/{address}/sheet", timeout=60).read()
    if SHOTS:
        (Path(SHOTS) / "sheet.png").write_bytes(sheet)
    assert Image.open(BytesIO(sheet)).size[1] > 4 * 96
    page.locator(".st-key-new_benchmark button").click()
    expect(page.locator(".stMain")).to_contain_text("Saved benchmarks")
    shoot(page, "saved")
    page.close()


def look_at(page, app, view):
    """The same at other widths, in the other language and theme."""
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 1440
    if not SHOTS:
        return
    shoot(page, f"{view}-en-dark-1440")
    for lang, width, scheme in (("zh", 1440, "light"), ("en", 420, "dark"), ("zh", 420, "light")):
        other = new_page(page.context, width, 900, scheme)
        other.goto(re.sub("lang=en", f"lang={lang}", page.url))
        name = NAMES[view] if lang == "zh" else next(key for key, value in VIEWS.items() if value == view)
        other.locator(".st-key-benchmark_head").wait_for()
        other.locator(".st-key-benchmark_head").get_by_text(name, exact=True).click()
        other.wait_for_timeout(1500)
        assert other.evaluate("document.scrollingElement.scrollWidth") <= width
        shoot(other, f"{view}-{lang}-{scheme}-{width}")
        other.close()
