"""Live drafts in a real Chromium: a slider that is moved shows a draft, and its release generates the image."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE, finished_image, new_page, open_generate, prompt_of, stage_image

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)


def set_live(page):
    page.locator(".st-key-live_draft label").first.click()
    expect(page.locator(".st-key-live_draft input")).to_be_checked()
    page.locator("figure.live").wait_for(state="attached")


WORDS = [("en", "Draft · 256×256", "seed 7"), ("zh", "草图 · 256×256", "种子 7")]


@pytest.mark.by_default("en")
@pytest.mark.parametrize(("language", "draft", "seed"), WORDS, ids=["en", "zh"])
def test_a_moved_slider_shows_a_draft_and_its_release_generates_the_image(app, browser, language, draft, seed):
    page = new_page(browser)
    open_generate(page, app, language)
    count = "/api/v1/jobs?limit=200"
    prompt = f"a red house, {language}"
    prompt_of(page).fill(prompt)
    page.locator(".st-key-w-generation-seed input").fill("7")
    page.locator(".st-key-w-generation-num_inference_steps input").fill("6")
    set_live(page)
    jobs = len(page.request.get(f"{app}{count}").json()["jobs"])
    slider = page.locator(".st-key-w-generation-cfg_scale input[type=range]")
    thumb = page.locator(".st-key-w-generation-cfg_scale [data-testid=stSliderThumbValue]").locator("xpath=..").first
    thumb.hover()
    page.mouse.down()
    box = thumb.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + box["height"] / 2, steps=4)
    shown = page.locator("figure.live[data-shown]")
    expect(shown.locator("figcaption")).to_contain_text(draft)
    expect(shown.locator("figcaption")).to_contain_text(seed)
    assert len(page.request.get(f"{app}{count}").json()["jobs"]) == jobs, "a draft is no job"
    assert page.locator(".st-key-stage_image").count() == 0 or "blob:" not in (stage_image(page).get_attribute("src") or "")
    first = shown.locator("img").get_attribute("src")
    page.mouse.move(box["x"] + 90, box["y"] + box["height"] / 2, steps=4)
    expect(shown.locator("img")).not_to_have_attribute("src", first)
    moved = float(slider.input_value())
    page.mouse.up()
    expect(stage_image(page)).to_have_attribute("alt", prompt)
    image = finished_image(page)
    record = page.request.get(f"{app}/api/v1/jobs?limit=1").json()["jobs"][0]
    assert record["request"]["cfg_scale"] == moved > 1 and record["request"]["seed"] == 7
    assert re.search(r"/api/images/", image.get_attribute("src"))
    expect(page.locator("figure.live")).to_be_hidden()
    page.close()


@pytest.mark.slow
def test_a_random_seed_is_fixed_and_what_the_program_sets_is_no_move(app, browser):
    page = new_page(browser)
    open_generate(page, app, "zh")
    prompt_of(page).fill("a blue tent")
    seed = page.locator(".st-key-w-generation-seed input")
    expect(seed).to_have_value("")
    set_live(page)
    expect(seed).not_to_have_value("")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/drafts" in request.url else None)
    page.locator(".st-key-options_reset button:visible").click()
    expect(page.locator(".st-key-w-generation-cfg_scale input[type=range]")).to_have_count(1)
    slider = page.locator(".st-key-w-generation-cfg_scale input[type=range]")
    slider.focus()
    assert not asked
    slider.press("ArrowRight")
    page.locator("figure.live[data-shown]").wait_for()
    expect(page.locator("figure.live figcaption")).to_contain_text("草图")
    finished_image(page)
    assert len(asked) == 1
    page.close()
