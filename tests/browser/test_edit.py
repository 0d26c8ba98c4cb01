"""Edits by instruction in a real Chromium, with a tiny random FLUX.2 [klein] in the real worker."""

from __future__ import annotations

import io
import json
import re
import urllib.request

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser import chromium
from tests.browser.chromium import PATIENCE, finished_image, new_page, open_generate, prompt_of
from tests.browser.test_inputs import PASTE
from tests.models import tiny_models

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def klein(browser, outputs, tmp_path_factory):
    """Yield the address of an app whose model is a tiny klein."""
    folder = tiny_models.flux2_klein(tmp_path_factory.mktemp("models") / "klein")
    with chromium.running_app(outputs / "klein", ZDARKROOM_MODEL__ID=str(folder)) as address:
        yield address


def file_of(colour):
    data = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(data, "PNG")
    return {"name": f"{colour}.png", "mimeType": "image/png", "buffer": data.getvalue()}


def request_of(address, image_id):
    """Return the request that an image was made by, as its record has it."""
    with urllib.request.urlopen(f"{address}/api/v1/images/{image_id}/record", timeout=30) as answer:
        return json.load(answer)["request"]


def test_edits_with_two_further_images_make_a_chain_with_a_branch(klein, browser):
    page = new_page(browser)
    open_generate(page, klein, "en")
    page.evaluate(PASTE)
    expect(page.locator(".st-key-stage canvas")).to_be_visible()
    source = page.locator(".st-key-section_img2img")
    source.locator("input[type=file]").first.set_input_files([file_of("red"), file_of("blue")])
    expect(source.locator(".st-key-reference_2 img")).to_be_visible()

    first = edited(page, "make the left half red")
    asked = request_of(klein, first)
    assert (asked["width"], asked["height"]) == (320, 160), "the size of the source image"
    assert asked["prompt"] == "make the left half red"
    assert sorted(asked["inputs"]) == ["image", "image_2", "image_3"]
    stage = page.locator(".st-key-stage")
    compare(page)
    divider = stage.locator(".st-key-before_after input[type=range]")
    divider.press("End")
    expect(stage.locator(".st-key-before_after .slider")).to_have_attribute("style", re.compile("--at: 100%"))

    again(page)
    second = edited(page, "add snow")
    assert request_of(klein, second)["parent"] == first
    compare(page)
    expect(stage).to_contain_text("The image it was made from")
    stage.locator(".st-key-parent button").first.click()
    expect(stage).to_contain_text("Made from this image: 1")

    again(page)
    third = edited(page, "at night")
    assert request_of(klein, third)["parent"] == first and len({first, second, third}) == 3
    compare(page)
    expect(stage).to_contain_text("Branches, made from the same images: 1")
    page.close()


def edited(page, instruction):
    """Generate with this instruction; return the id of the image once it is on the stage."""
    prompt_of(page).fill(instruction)
    prompt_of(page).press("Control+Enter")
    expect(page.locator(".st-key-stage_image img").first).to_have_attribute("alt", instruction)
    return finished_image(page).get_attribute("src").rsplit("/", 1)[-1]


def compare(page):
    """Open the tab on which source and result lie on one another."""
    page.locator(".st-key-stage_tabs").get_by_text("Before / after", exact=True).click()
    expect(page.locator(".st-key-before_after .slider")).to_be_visible()


def again(page):
    """Make the image on the stage the source of the next edit."""
    page.locator(".st-key-start_from button:visible").first.click()
    expect(page.locator(".st-key-stage canvas")).to_be_visible()
