"""What guides an image besides its prompt, in a real Chromium: a LoRA chosen from the list, a control image with its preview."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from tests.browser.chromium import (
    PATIENCE,
    download_button,
    finished_image,
    new_page,
    open_generate,
    open_section,
    prompt_of,
    running_app,
    stage_image,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
expect.set_options(timeout=PATIENCE)
SHOTS = os.environ.get("GUIDES_SHOTS")  # a folder, to look at the page


def shoot(page, name):
    if SHOTS:
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def shown(page):
    """The record of the finished image that is shown: its metadata, as they are in the file."""
    return page.request.get(finished_image(page).evaluate("image => image.src") + "/record").json()


@pytest.mark.slow
def test_a_lora_is_selected_weighed_and_generated_with(real_app, browser):
    page = new_page(browser)
    open_generate(page, real_app, "en")
    field = open_section(page, "lora").locator("[data-testid=stMultiSelect] input")
    field.click()
    field.fill("ink")
    expect(page.get_by_role("option")).to_have_text(["ink-print"])
    page.keyboard.press("Enter")
    row = page.locator(".st-key-lora_row_ink-print")
    expect(row.locator("img.zd-lora")).to_be_visible()
    assert row.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.keyboard.press("Escape")
    slider = row.get_by_role("slider")
    slider.focus()
    for _ in range(15):  # each is asked of the server, whose answers come while the next ones are pressed
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(130)
    page.wait_for_timeout(1000)  # an answer that is late must not take one of them back
    expect(row).to_contain_text("0.25")
    shoot(page, "lora")
    page.get_by_label("Steps", exact=True).fill("2")
    prompt_of(page).fill("a red house, day")
    prompt_of(page).press("Control+Enter")
    expect(download_button(page)).to_be_visible()
    expect(stage_image(page)).to_have_attribute("alt", "a red house, day")
    assert shown(page)["request"]["options"]["lora.use"] == ["ink-print:0.25"]
    page.close()


COLOURS = """image => image.decode().then(() => {
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [image.naturalWidth, image.naturalHeight];
  const pen = sheet.getContext("2d");
  pen.drawImage(image, 0, 0);
  const reds = pen.getImageData(0, 0, sheet.width, sheet.height).data.filter((_, place) => place % 4 == 0);
  return [...new Set(reds)].sort((one, other) => one - other);
})"""


def outlines():
    image = Image.new("RGB", (64, 64), (90, 90, 160))
    ImageDraw.Draw(image).rectangle((16, 16, 48, 48), fill="orange")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_a_control_image_is_shown_as_it_will_be_seen(browser, tmp_path):
    from tests.models import tiny_models

    folder = tiny_models.stable_diffusion_xl_control(tmp_path / "toys" / "control")
    with running_app(tmp_path / "outputs", ZDARKROOM_MODEL__ID=str(folder)) as app:
        page = new_page(browser)
        open_generate(page, app, "en")
        card = open_section(page, "control")
        expect(card).to_contain_text("Add one above")
        card.locator("input[type=file]").set_input_files(
            {"name": "square.png", "mimeType": "image/png", "buffer": outlines()}
        )
        seen = card.locator("[data-testid=stImage] img")
        expect(seen).to_be_visible()
        expect(card).to_contain_text("Preprocessor preview")
        assert seen.evaluate(COLOURS) == [0, 255], "outlines, white on black"
        shoot(page, "control")
        card.locator(".st-key-w-controlnet-preprocessor input").click()
        page.get_by_role("option", name="none").click()
        expect(card.locator("[data-testid=stSlider]")).to_have_count(2)
        page.wait_for_timeout(1000)
        assert {90, 255} <= set(seen.evaluate(COLOURS)), "the image as it is"
        page.get_by_label("Steps", exact=True).fill("2")
        prompt_of(page).fill("a box")
        prompt_of(page).press("Control+Enter")
        expect(download_button(page)).to_be_visible()
        inputs = shown(page)["request"]["inputs"]
        assert list(inputs) == ["control_image"]
        shoot(page, "control-drawn")
        page.close()
