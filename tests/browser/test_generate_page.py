"""The Generate page in a real Chromium: what was once lost, hidden or ignored, and the layout that keeps the image in view."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import (
    PATIENCE,
    finished_image,
    new_page,
    open_generate,
    open_section,
    prompt_of,
    running_app,
    stage_image,
    wait_for_draft,
)

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)


def switch_language(page, label):
    page.locator(".st-key-language_switch").get_by_text(label, exact=True).click()


def generate(page, prompt, steps="2", images="1"):
    prompt_of(page).fill(prompt)
    page.get_by_label("Steps", exact=True).fill(steps)
    page.get_by_label("Images", exact=True).fill(images)
    page.locator(".st-key-generate button").click()


@pytest.mark.slow
def test_switching_the_language_twice_keeps_the_model(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    model = page.locator(".st-key-w-model-id input")
    for label, name in (("中", "内置模型"), ("EN", "Embedded model"), ("中", "内置模型")):
        switch_language(page, label)
        expect(model).to_have_value(name)
    expect(page.locator(".stMain")).not_to_contain_text("没有模型")
    prompt_of(page).fill("a red house")
    page.locator(".st-key-generate button").click()
    finished_image(page)
    page.close()


def test_a_second_job_neither_hides_the_first_nor_takes_its_esc(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    generate(page, "a red house at night", steps="150", images="20")  # longer than a busy page takes
    expect(page.locator(".st-key-progress")).to_contain_text(re.compile(r"Step \d+ of 150"))
    generate(page, "a blue lighthouse", steps="3")
    expect(page.locator(".st-key-generate")).to_contain_text("Generate · 2")
    expect(stage_image(page)).to_have_attribute("alt", "a red house at night")
    expect(page.locator(".st-key-progress")).to_contain_text("of 150")
    page.locator(".st-key-stage").press("Escape")
    expect(stage_image(page)).to_have_attribute("alt", "a blue lighthouse")
    finished_image(page)
    page.close()


def test_what_is_typed_survives_another_page_a_reload_and_a_new_tab(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    prompt_of(page).press_sequentially("a quiet harbour")
    page.get_by_role("link", name="Queue").click()
    expect(page.locator(".st-key-prompt")).to_have_count(0)
    page.get_by_role("link", name="Generate").click()
    wait_for_draft(page)
    expect(prompt_of(page)).to_have_value("a quiet harbour")
    prompt_of(page).press("End")
    prompt_of(page).press_sequentially(", dawn")
    expect(prompt_of(page)).to_have_value("a quiet harbour, dawn")
    page.reload()
    wait_for_draft(page)
    expect(prompt_of(page)).to_have_value("a quiet harbour, dawn")
    open_section(page, "batch")
    page.locator(".st-key-batch_text textarea").press_sequentially("one\ntwo")
    expect(page.locator(".st-key-batch_text textarea")).to_have_value("one\ntwo")
    page.reload()
    open_section(page, "batch")
    expect(page.locator(".st-key-batch_text textarea")).to_have_value("one\ntwo")
    other = new_page(browser)
    open_generate(other, app, "en", draft=True)
    expect(prompt_of(other)).to_have_value("a quiet harbour, dawn")
    other.close()
    page.close()


@pytest.mark.slow
def test_a_cancelled_job_says_how_many_images_it_saved(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    generate(page, "a white tent", steps="3", images="60")
    expect(page.locator(".st-key-progress")).to_contain_text(re.compile(r"image ([3-9]|\d\d) of 60"))
    page.locator(".st-key-stage").press("Escape")
    expect(page.locator(".st-key-stage")).to_contain_text(re.compile(r"Canceled\. [1-9]\d* of 60 images were saved"))
    page.close()


@pytest.mark.slow
def test_wildcards_of_the_prompt_are_expanded_and_the_template_is_kept(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    prompt_of(page).fill("a {red|blue} house")
    prompt_of(page).press("Tab")
    page.locator(".st-key-wildcard_preview button").click()
    expect(page.get_by_test_id("stPopoverBody")).to_contain_text(re.compile(r"\d+: a (red|blue) house"))
    page.keyboard.press("Escape")
    generate(page, "a {red|blue} house", images="4")
    page.locator(".st-key-stage_tabs").get_by_text("Batch", exact=True).click()
    expect(page.locator(".st-key-batch_grid .batch button")).to_have_count(4)
    page.locator(".st-key-stage_tabs").get_by_text("Result", exact=True).click()
    expect(finished_image(page)).to_have_attribute("alt", re.compile("^a (red|blue) house$"))
    page.locator(".st-key-stage_facts button").first.click()
    expect(page.get_by_test_id("stPopoverBody")).to_contain_text("a {red|blue} house")
    page.close()


@pytest.mark.slow
def test_an_error_can_be_closed_and_does_not_follow_to_other_pages(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    page.locator(".st-key-generate button").click()
    card = page.locator("[class*=st-key-problem_asked]")
    expect(card).to_contain_text("prompt")
    page.get_by_role("link", name="History").click()
    expect(page.locator(".st-key-filters")).to_be_visible()
    expect(page.locator("[class*=st-key-problem_]")).to_have_count(0)
    page.get_by_role("link", name="Generate").click()
    expect(prompt_of(page)).to_be_visible()
    expect(card).to_have_count(0)
    page.locator(".st-key-generate button").click()
    card.get_by_role("button", name="Close").click()
    expect(card).to_have_count(0)
    page.close()


@pytest.mark.slow
def test_images_of_others_do_not_come_to_the_stage(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    generate(page, "a red house of somebody")
    finished_image(page)
    stranger = browser.browser.new_context()
    other = stranger.new_page()
    other.goto(f"{app}/?lang=en")
    expect(other.locator(".st-key-samples")).to_be_visible()
    assert other.locator(".st-key-stage_image").count() == 0
    stranger.close()
    page.close()


IN_VIEW = """() => [".st-key-stage_image", ".st-key-facts", ".st-key-generate button"].every(
  (part) => document.querySelector(part)?.getBoundingClientRect().bottom <= 900)"""


@pytest.mark.by_default("256-768")
@pytest.mark.parametrize(("width", "height"), [("1024", "256"), ("256", "256"), ("256", "768")])
def test_image_and_actions_are_in_view_without_scrolling(app, browser, width, height):
    page = new_page(browser)
    open_generate(page, app, "en")
    page.get_by_label("Width (px)", exact=True).fill(width)
    page.get_by_label("Height (px)", exact=True).fill(height)
    generate(page, "a purple windmill", steps="1")
    finished_image(page)
    expect(page.locator(".st-key-stage_actions")).to_be_visible()
    page.wait_for_function(IN_VIEW)  # for a moment the preview stands beside the image
    assert page.evaluate("document.querySelector('.stMain').scrollHeight <= 900"), "the page never scrolls"
    page.close()


def test_steps_are_few_tab_stops_away(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    skip = page.locator(".zd-skip")
    skip.wait_for(state="attached")  # its component comes after the form
    page.keyboard.press("Tab")
    expect(skip).to_be_focused()
    page.keyboard.press("Enter")  # the link that skips to the prompt
    expect(prompt_of(page)).to_be_focused()
    steps = page.get_by_label("Steps", exact=True)
    for _ in range(8):
        page.keyboard.press("Tab")
        if steps.evaluate("one => one === document.activeElement"):
            break
    else:
        pytest.fail("Steps was not reached with 8 tab stops")
    page.close()


@pytest.mark.slow
def test_the_viewer_zooms_to_the_images_own_pixels_and_back(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    generate(page, "a yellow balloon", steps="1")
    image = finished_image(page)
    fitted = image.bounding_box()["width"]
    page.locator(".st-key-stage_image").hover()
    page.get_by_role("button", name="Zoom in").click()
    wider = "([image, least]) => image.getBoundingClientRect().width > least"
    page.wait_for_function(wider, arg=[image.element_handle(), fitted * 1.4])
    page.get_by_role("button", name="Fit").click()
    equal = "([image, width]) => Math.abs(image.getBoundingClientRect().width - width) < 2"
    page.wait_for_function(equal, arg=[image.element_handle(), fitted])
    page.close()


@pytest.mark.slow
def test_a_preset_is_saved_applied_marked_and_deleted(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    page.get_by_label("Steps", exact=True).fill("5")
    page.get_by_label("Steps", exact=True).press("Tab")
    page.locator(".st-key-preset_menu button").first.click()
    menu = page.get_by_test_id("stPopoverBody")
    menu.get_by_label("Name of the new preset").fill("five steps")
    menu.get_by_label("Name of the new preset").press("Tab")
    page.wait_for_timeout(3000)  # the rerun that this begins may take the button away under a click
    menu.get_by_role("button", name="Save current settings").click()
    expect(page.locator(".st-key-preset_select input")).to_have_value("five steps")
    page.keyboard.press("Escape")
    page.get_by_label("Steps", exact=True).fill("7")
    page.get_by_label("Steps", exact=True).press("Tab")
    expect(page.locator(".st-key-preset_select")).to_contain_text("Preset (modified)")
    page.locator(".st-key-preset_menu button").first.click()
    menu.get_by_role("button", name="Delete five steps").click()
    expect(page.locator(".st-key-preset_select input")).to_have_value("")
    page.close()


@pytest.mark.slow
def test_a_model_without_previews_says_so_while_it_generates(browser, tmp_path):
    """The quick case is in tests/ui/test_generate.py; here the worker itself tells it, of a VAE of random weights."""
    from tests.models import tiny_models

    folder = tiny_models.stable_diffusion(tmp_path / "toys" / "toy")
    with running_app(tmp_path / "outputs", ZDARKROOM_MODEL__ID=str(folder)) as address:
        page = new_page(browser)
        open_generate(page, address, "en")
        generate(page, "a box", steps="100", images="20")
        expect(page.locator(".st-key-progress")).to_contain_text("no live preview")
        page.locator(".st-key-stage").press("Escape")
        expect(page.locator(".st-key-stage")).to_contain_text("Canceled")
        page.close()
