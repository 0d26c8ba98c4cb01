"""The window around the pages: title with progress, count in the navigation, drawer on a phone, deep links, signal at the end."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE, finished_image, new_page, open_generate, prompt_of

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)
SIGNALS = """() => {
  window.told = [];
  window.Notification = class { static permission = "granted"; constructor(title, { body }) { window.told.push(body); } };
  window.rung = 0;
  const real = window.AudioContext;
  window.AudioContext = class extends real { constructor() { super(); window.rung += 1; } };
  for (const name of ["zd-notify", "zd-sound"]) localStorage.setItem(name, "on");
}"""


@pytest.mark.slow
def test_the_window_tells_the_progress_the_count_and_the_end(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    expect(page).to_have_title("Generate · Z Darkroom")
    page.evaluate(SIGNALS)
    prompt_of(page).fill("a red house at night")
    page.get_by_label("Steps", exact=True).fill("150")  # longer than a busy page takes to hear of it
    page.locator(".st-key-generate button").click()
    expect(page).to_have_title(re.compile(r"^\d+% · Z Darkroom$"))
    expect(page.locator("a[href$='/queue'][data-zd-count='1']").first).to_be_visible()
    finished_image(page)
    expect(page).to_have_title("Generate · Z Darkroom")
    expect(page.locator("a[href$='/queue'][data-zd-count='']").first).to_be_visible()
    assert page.evaluate("[window.told, window.rung]") == [["Your jobs have ended."], 1]
    page.evaluate("['zd-notify', 'zd-sound'].forEach((name) => localStorage.removeItem(name))")
    page.close()


def test_a_page_opened_by_its_address_asks_for_nothing_that_is_not_there(app, browser):
    page = new_page(browser)
    missing = []
    page.on("response", lambda answer: missing.append(answer.url) if answer.status == 404 else None)
    page.goto(f"{app}/queue?lang=zh")
    page.locator(".st-key-queue_switches button").first.wait_for()
    expect(page).to_have_title("队列 · 造相暗房")
    assert missing == [] and page.evaluate("document.documentElement.lang") == "zh"
    page.close()


def test_on_a_phone_the_drawer_closes_after_a_choice(app, browser):
    page = new_page(browser, 420, 900)
    page.goto(f"{app}/queue?lang=zh")
    page.locator("html[lang=zh]").wait_for(state="attached")  # the script that closes it is there
    expect(page.locator(".zd-title")).to_have_text("队列")
    page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_test_id("stSidebarNavLink").filter(has_text="系统").click()
    expect(page.locator(".zd-title")).to_have_text("系统")
    expect(page.get_by_test_id("stSidebarNavLink").first).not_to_be_in_viewport()
    page.close()
