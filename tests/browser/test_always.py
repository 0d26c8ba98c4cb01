"""What holds on every page and at any time: nothing typed is lost, what runs is shown, the keyboard reaches all in reading order.

What needs no browser is tested with AppTest: that a model says what it reads (`test_progress_poll`), the table without equal
columns, the map of differences, an import shown before it is saved (`test_history`), honest step counts (`test_inputs`),
contrast (`test_theme`). No page is too wide (`test_accessibility`). Zooming, Esc, a second job and reloads are in
`test_generate_page` and `test_journey`.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import (
    PATIENCE,
    finished_image,
    new_page,
    open_benchmark,
    open_generate,
    prompt_of,
    stage_image,
    wait_for_benchmark,
    wait_for_draft,
)

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

ZONES = """() => {
  const at = document.activeElement;
  const zone = ["form_zone", "stage", "session"].find((name) => at.closest(`.st-key-${name}`));
  return at === document.body ? "end" : at.closest(".st-key-generate") ? "generate" : zone ?? "bar";
}"""


@pytest.mark.slow
def test_first_start_makes_an_image_with_one_click_and_regenerate_proves_it(real_app, browser):
    """A browser that was never here sees the samples; the same seed again gives the same pixels."""
    fresh = browser.browser.new_context()
    page = fresh.new_page()
    page.goto(f"{real_app}/?lang=en")
    page.locator(".st-key-samples button").first.click()
    expect(page.locator(".st-key-progress")).to_be_visible()  # at once, before the first step
    src = finished_image(page).get_attribute("src")
    page.goto(f"{real_app}/history?lang=en&image={src.rsplit('/', 1)[1]}")
    page.locator(".st-key-run_again button").first.click()
    expect(page.get_by_text("Identical to the original, pixel by pixel")).to_be_visible()
    fresh.close()


@pytest.mark.slow
def test_typing_while_a_job_ends_loses_neither_text_nor_focus(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    page.get_by_label("Steps", exact=True).fill("100")  # a busy machine takes a while to draw the page
    prompt_of(page).fill("a red house")
    page.locator(".st-key-generate button").click()
    expect(page.locator(".st-key-progress")).to_be_visible()
    prompt_of(page).fill("")
    typed = ""
    while page.locator(".st-key-progress").count() or len(typed) < 40:  # until the job has ended and the page was drawn anew
        prompt_of(page).press("x", delay=80)  # ms: as people type
        typed += "x"
    finished_image(page)
    expect(prompt_of(page)).to_have_value(typed)
    expect(prompt_of(page)).to_be_focused()
    page.close()


def test_what_was_just_typed_survives_another_language(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    prompt_of(page).press_sequentially("a quiet harbour")
    page.locator(".st-key-language_switch").get_by_text("中", exact=True).click()
    expect(page.get_by_label("采样步数", exact=True)).to_be_visible()
    expect(prompt_of(page)).to_have_value("a quiet harbour")
    page.close()


@pytest.mark.slow
def test_the_keyboard_meets_the_form_before_the_stage(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    prompt_of(page).fill("a red house")
    page.get_by_label("Steps", exact=True).fill("1")
    page.locator(".st-key-generate button").click()
    finished_image(page)
    expect(page.locator(".st-key-stage_actions")).to_be_visible()
    prompt_of(page).focus()
    met = ["form_zone"]
    for _ in range(120):
        page.keyboard.press("Tab")
        zone = page.evaluate(ZONES)
        if zone != met[-1]:
            met.append(zone)
        if zone in ("session", "end"):
            break
    assert met[:5] == ["form_zone", "generate", "form_zone", "stage", "session"], met
    page.close()


def test_the_status_does_not_lie_over_the_navigation(app, browser):
    """At 1024 pixels in English there is no room for it."""
    page = new_page(browser, 1024, 900)
    page.goto(f"{app}/queue?lang=en")
    last = page.get_by_test_id("stTopNavLink").filter(has_text="System")
    last.wait_for()
    expect(page.locator(".zd-machine")).to_be_hidden()
    page.set_viewport_size({"width": 1300, "height": 900})
    expect(page.locator(".zd-machine")).to_be_visible()
    right, left = last.bounding_box(), page.locator(".zd-machine").bounding_box()
    assert right["x"] + right["width"] < left["x"]
    page.close()


@pytest.mark.slow
def test_what_runs_is_shown_on_every_page(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    prompt_of(page).fill("a white tent")
    page.get_by_label("Steps", exact=True).fill("200")
    page.get_by_label("Images", exact=True).fill("20")
    page.locator(".st-key-generate button").click()
    expect(stage_image(page)).to_have_attribute("alt", "a white tent")
    page.get_by_role("link", name="Queue").click()
    row = page.locator("[class*=st-key-row_]").filter(has_text="a white tent")
    expect(row).to_contain_text(re.compile(r"Step \d+ of 200"))
    expect(row.get_by_role("progressbar")).to_be_visible()
    page.get_by_role("link", name="Models").click()
    expect(page).to_have_title(re.compile(r"^\d+% · Z Darkroom$"))
    page.get_by_role("link", name="Queue").click()
    row.locator("[class*=st-key-cancel_] button:visible").click()
    expect(row).to_contain_text("Canceled")  # it answers where it was clicked
    page.close()


@pytest.mark.slow
def test_the_benchmark_survives_a_reload_another_page_and_a_new_tab(app, browser):
    """Loaded anew at the instant when the third column is seen, and while a text is typed that was not left."""
    page = new_page(browser)
    open_benchmark(page, app)
    page.get_by_role("button", name="Add column").click()
    page.get_by_text("Column 3", exact=True).wait_for()
    page.reload()
    expect(page.get_by_text("Column 3", exact=True)).to_be_visible()
    wait_for_benchmark(page)
    prompts = page.get_by_label("Prompts, one per line")
    prompts.fill("a red house\na white tent")
    page.reload()
    wait_for_benchmark(page)
    expect(prompts).to_have_value("a red house\na white tent")
    prompts.press_sequentially("s")
    page.get_by_role("link", name="Queue").click()
    expect(page.locator(".st-key-queue_switches")).to_be_visible()
    page.get_by_role("link", name="Benchmark").click()
    expect(prompts).to_have_value("a red house\na white tents")
    other = new_page(browser)
    open_benchmark(other, app, draft=True)
    expect(other.get_by_label("Prompts, one per line")).to_have_value("a red house\na white tents")
    expect(other.get_by_text("Column 3", exact=True)).to_be_visible()
    other.close()
    page.close()


KEPT_OF_BEFORE = """() => {
  const fields = { comparison_rows: [1, 2, 3], "comparison:prompts": "a lighthouse", "comparison:seeds": "5" };
  localStorage.setItem("zd-benchmark-last", JSON.stringify({ values: fields, typed: {}, fills: 0 }));
}"""
TYPED_AT_ONCE = """() => new MutationObserver(() => {
  const field = document.querySelector(".st-key-benchmark_prompts textarea");
  if (!field || window.typedAtOnce || document.documentElement.dataset.keptBenchmark) return;
  window.typedAtOnce = true;
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(field, "typed at once");
  field.dispatchEvent(new Event("input", { bubbles: true }));
}).observe(document, { childList: true, subtree: true })"""


@pytest.mark.slow
def test_what_is_typed_before_the_benchmark_is_given_back_stays(app, browser):
    page = new_page(browser)
    page.goto(f"{app}/_stcore/health")
    page.evaluate(KEPT_OF_BEFORE)
    page.add_init_script(f"({TYPED_AT_ONCE})()")
    open_benchmark(page, app, draft=True)
    expect(page.get_by_text("Column 3", exact=True)).to_be_visible()
    expect(page.get_by_label("Seeds, separated by commas")).to_have_value("5")
    expect(page.get_by_label("Prompts, one per line")).to_have_value("typed at once")
    expect(page.locator(".st-key-benchmark_form[inert]")).to_have_count(0)
    page.close()


NO_STORAGE = """() => { for (const name of ["sessionStorage", "localStorage"])
  Object.defineProperty(window, name, { get() { throw new DOMException("off", "SecurityError"); } }); }"""
FULL_STORAGE = """() => { Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); }; }"""


@pytest.mark.slow
@pytest.mark.parametrize("broken", [NO_STORAGE, FULL_STORAGE], ids=["off", "full"])
def test_without_storage_only_a_reload_forgets(app, browser, broken):
    page = new_page(browser)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{app}/_stcore/health")
    page.evaluate("localStorage.clear()")
    page.add_init_script(f"({broken})()")
    page.goto(f"{app}/?lang=en")
    wait_for_draft(page)
    prompt_of(page).press_sequentially("a quiet harbour")
    page.get_by_role("link", name="Queue").click()
    sound = page.get_by_label("Sound when the queue is done")
    sound.check()
    page.get_by_role("link", name="Models").click()
    expect(page.locator(".st-key-model_demo")).to_be_visible()
    page.get_by_role("link", name="Queue").click()
    expect(sound).to_be_checked()  # the window remembers
    page.get_by_role("link", name="Generate").click()
    expect(prompt_of(page)).to_have_value("a quiet harbour")
    page.get_by_label("Steps", exact=True).fill("1")
    page.locator(".st-key-generate button").click()
    finished_image(page)
    expect(page).to_have_title("Generate · Z Darkroom")
    assert problems == []
    page.close()


@pytest.mark.slow
def test_a_number_just_typed_survives_another_page_and_a_reload(app, browser):
    """The prompt has its draft; a number goes to the page's program when its field is left, by this very click."""
    page = new_page(browser)
    open_generate(page, app, "en")
    steps = page.get_by_label("Steps", exact=True)
    steps.fill("13")
    page.get_by_role("link", name="Queue").click()
    expect(page.locator(".st-key-queue_switches")).to_be_visible()
    page.get_by_role("link", name="Generate").click()
    expect(steps).to_have_value("13")
    steps.fill("17")
    page.reload()
    wait_for_draft(page)
    expect(steps).to_have_value("17")
    page.close()


@pytest.mark.slow
def test_typing_then_another_page_keeps_both(app, browser):
    """The click comes while the page's program has not heard of the text yet."""
    page = new_page(browser)
    page.goto(f"{app}/history?lang=en")
    search = page.get_by_label("Search", exact=True)
    search.press_sequentially("lighthouse")
    page.get_by_role("link", name="Queue").click()
    expect(page.locator(".st-key-queue_switches")).to_be_visible()
    page.get_by_role("link", name="History").click()
    expect(search).to_have_value("lighthouse")
    expect(page).to_have_url(re.compile("q=lighthouse"))
    page.close()
