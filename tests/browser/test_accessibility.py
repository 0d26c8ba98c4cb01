"""axe-core finds nothing serious or critical on any page."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE, new_page, open_generate, open_section

accessibility = pytest.importorskip("tests.browser.accessibility", reason="axe-playwright-python is not installed")

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

PAGES = {  # address -> something that is drawn last
    "": ".st-key-generate button",
    "queue": ".st-key-queue_switches button",
    "history": ".st-key-filters",
    "models": ".st-key-model_cards",
    "comparison": ".st-key-start_benchmark",
    "guide": ".st-key-steps button",
    "system": ".st-key-log",
}


def open_at(page, app, name, language):
    page.goto(f"{app}/{name}?lang={language}")
    page.locator(PAGES[name]).first.wait_for()
    page.wait_for_timeout(700)  # what is drawn by scripts of the page's own


@pytest.mark.slow  # by default the Generate page with open accordions, below
@pytest.mark.parametrize("name", PAGES, ids=lambda name: name or "generate")
def test_a_page_has_no_grave_violation(app, browser, name):
    page = new_page(browser, scheme="light")
    open_at(page, app, name, "en")
    assert accessibility.grave_violations(page) == []
    for width in (420, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function("least => document.scrollingElement.scrollWidth <= least", arg=width)  # nothing sticks out
    page.close()


def test_open_accordions_have_none(app, browser):
    page = new_page(browser)
    open_generate(page, app, "zh")
    for name in ("img2img", "sampler", "xy", "yaml"):
        open_section(page, name).locator("[data-testid=stExpanderDetails] > *").first.wait_for()
    page.wait_for_timeout(1500)
    assert accessibility.grave_violations(page) == []
    page.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # seven pages, each of which a busy machine takes a minute to draw and to look through
@pytest.mark.parametrize("width", (1440, 1024, 420))
@pytest.mark.parametrize("scheme", ("light", "dark"))
@pytest.mark.parametrize("language", ("en", "zh"))
def test_every_page_in_every_language_theme_and_width(app, browser, language, scheme, width):
    page = new_page(browser, width, 900, scheme)
    found = {}
    for name in PAGES:
        open_at(page, app, name, language)
        found[name] = accessibility.grave_violations(page)
    assert {name: lines for name, lines in found.items() if lines} == {}
    page.close()
