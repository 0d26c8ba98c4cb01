"""A person's way through the app in a real Chromium; the first, where slow tests run, also with the embedded model."""

from __future__ import annotations

import json
import re
import urllib.request
from urllib.parse import urlparse

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE, download_button, new_page, open_generate, prompt_of, stage_image

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)
PROMPT = "红色的房子，日落，雪山 🌄 ![x](http://example.invalid/x.png)"

# What Streamlit has open and close step by step is held where `folding(part)` puts it, at 1 as a busy browser shows it: done,
# and not yet tidied up.
HELD_FOLDING = """
const held = [], animate = Element.prototype.animate;
Element.prototype.animate = function (...all) {
  const made = animate.apply(this, all);
  if (this.tagName === "DETAILS") { made.pause(); made.finish = () => {}; held.push(made); }
  return made;
};
window.folding = (part) => held.forEach((each) => { each.currentTime = part * each.effect.getTiming().duration; });
"""


def jobs_of(app: str) -> int:
    """How many jobs there are so far: other files may have drawn with this app before."""
    with urllib.request.urlopen(f"{app}/api/v1/jobs?limit=200", timeout=30) as answer:
        return len(json.load(answer)["jobs"])


@pytest.mark.parametrize("drawn_by", ["app", pytest.param("real_app", marks=pytest.mark.slow)])
def test_a_prompt_becomes_a_image_and_its_settings_can_be_used_again(request, browser, drawn_by):
    address = request.getfixturevalue(drawn_by)
    page = new_page(browser)
    jobs_before = jobs_of(address)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_generate(page, address)
    page.get_by_label("采样步数", exact=True).fill("4")
    prompt_of(page).press_sequentially(PROMPT)
    prompt_of(page).press("Control+Enter")
    expect(stage_image(page)).to_have_attribute("alt", PROMPT)
    expect(download_button(page)).to_be_visible()
    expect(stage_image(page)).to_have_attribute("src", re.compile(r"^/api/images/[0-9a-f]{32}(\?.*)?$"))  # once loaded
    sides = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    assert stage_image(page).evaluate(sides) == [256, 256]
    assert jobs_of(address) == jobs_before + 1, "Ctrl+Enter asked for one image, not for two"
    page.locator(".st-key-facts button").nth(1).click()
    expect(page.locator(".st-key-facts")).to_contain_text("已复制")
    assert page.evaluate("navigator.clipboard.readText()") == "256x256"

    page.get_by_role("link", name="历史").click()
    page.locator(".st-key-gallery button").first.click()
    expect(page.locator(".st-key-detail_zoom img >> nth=0")).to_have_attribute("alt", PROMPT)
    page.locator(".st-key-use_settings button").click()
    expect(prompt_of(page)).to_have_value(PROMPT)
    expect(page.get_by_label("采样步数", exact=True)).to_have_value("4")

    foreign = {urlparse(url).hostname for url in asked if urlparse(url).scheme.startswith("http")} - {"127.0.0.1"}
    assert foreign == set(), "nothing is fetched from elsewhere, not even what a prompt names"
    page.close()


def test_a_reload_in_mid_run_finds_the_job_and_esc_cancels_it(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    page.get_by_label("Steps", exact=True).fill("200")
    page.get_by_label("Images", exact=True).fill("64")  # long enough for any reload
    prompt_of(page).fill("a blue lighthouse by the sea")
    page.locator(".st-key-generate button").click()
    expect(page.locator(".st-key-progress")).to_contain_text(re.compile(r"Step \d+ of 200"))
    expect(stage_image(page)).to_have_attribute("src", re.compile("/preview"))
    page.reload()
    expect(page.locator(".st-key-progress")).to_contain_text(re.compile(r"Step \d+ of 200"))
    expect(prompt_of(page)).to_have_value("a blue lighthouse by the sea")
    page.locator(".st-key-stage").press("Escape")
    expect(page.locator(".st-key-stage")).to_contain_text("Canceled")
    page.close()


@pytest.mark.slow
def test_a_word_of_the_library_keeps_what_was_typed_and_not_yet_sent(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    prompt_of(page).press_sequentially("a quiet poster")
    page.locator(".st-key-ideas button").first.click()
    page.get_by_role("button", name="lighthouse", exact=True).or_(
        page.get_by_role("radio", name="lighthouse", exact=True)
    ).first.click()
    expect(prompt_of(page)).to_have_value("a quiet poster, lighthouse")
    page.close()


@pytest.mark.slow
def test_a_click_that_is_let_go_while_an_accordion_still_opens_is_not_lost(app, browser):
    page = new_page(browser)
    page.emulate_media(reduced_motion="no-preference")
    page.add_init_script(HELD_FOLDING)
    open_generate(page, app, "en")
    line, box = page.locator(".st-key-section_output summary"), page.get_by_role("switch", name="Live preview")
    line.click()
    was = box.is_checked()
    page.evaluate("folding(0.98)")
    page.locator(".st-key-w-preview-enabled").get_by_text("Live preview", exact=True).hover()
    page.mouse.down()
    page.evaluate("folding(1)")
    page.mouse.up()
    expect(box).to_be_checked(checked=not was)
    line.click()
    expect(page.locator(".st-key-w-preview-enabled")).to_have_count(0)
    folded = page.locator(".st-key-section_output details").bounding_box()["height"]
    assert folded <= line.bounding_box()["height"] + 2, "what is below moves up at once, too"
    page.close()


def test_on_a_phone_the_image_comes_first_and_generate_stays_in_view(app, browser):
    page = new_page(browser, width=420)
    open_generate(page, app)
    stage_image(page).or_(page.locator(".st-key-samples")).first.wait_for()
    tops = [page.locator(f".st-key-{part}").bounding_box()["y"] for part in ("stage", "prompt", "size_chips")]
    assert tops == sorted(tops)
    foot = page.locator(".st-key-generate").bounding_box()
    assert foot["y"] + foot["height"] <= 900, "the button is in view wherever the page is"
    widest = page.evaluate("document.scrollingElement.scrollWidth")
    assert widest <= 420, "nothing sticks out at the side"
    page.close()


def test_images_are_for_this_machine_only(app):
    request = urllib.request.Request(f"{app}/api/images/none", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 403
    assert "This address" in json.loads(refused.value.read())["error"]["en"]
