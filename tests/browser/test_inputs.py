"""An image to start from in a real Chromium: pasted, painted on and kept over pages."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE, new_page, open_generate

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

PASTE = """async () => {
  const sheet = document.createElement("canvas");
  [sheet.width, sheet.height] = [320, 160];
  sheet.getContext("2d").fillRect(0, 0, 160, 160);
  const carried = new DataTransfer();
  carried.items.add(new File([await new Promise((done) => sheet.toBlob(done))], "a.png", { type: "image/png" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true }));
}"""
PAINTED = (
    "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.filter(x => x).length > 0"
)


def test_a_pasted_image_is_painted_on_and_the_mask_is_kept(app, browser):
    page = new_page(browser)
    kept: list[str] = []
    page.on(
        "response", lambda answer: kept.append(answer.json()["digest"]) if answer.request.method == "POST" else None
    )
    open_generate(page, app, "en")
    stage, source = page.locator(".st-key-stage"), page.locator(".st-key-section_img2img")
    page.evaluate(PASTE)  # while the panel is closed
    canvas = stage.locator("canvas")
    expect(canvas).to_be_visible()
    expect(page.get_by_label("Width (px)", exact=True)).to_have_value("320")

    expect(source).to_contain_text(re.compile(r"\d of 8 steps will be run"))  # not more than will be

    stroke(page, canvas, 0.2, 0.6)
    expect(source).to_contain_text("Only the masked area is regenerated")
    mask = Image.open(io.BytesIO(page.request.get(f"{app}/api/inputs/{kept[-1]}").body()))
    assert mask.size == (320, 160)
    assert [mask.getpixel((x, 80))[0] for x in (20, 128, 300)] == [0, 255, 0]
    stage.get_by_role("button", name="Invert mask").click()
    page.wait_for_timeout(1500)
    page.get_by_role("link", name="History").click()
    expect(page.locator(".st-key-ask")).to_have_count(0)
    page.get_by_role("link", name="Generate").click()
    expect(source).to_contain_text("Only the masked area")
    page.wait_for_function(PAINTED, arg=canvas.element_handle())  # the mask is there again
    mask = Image.open(io.BytesIO(page.request.get(f"{app}/api/inputs/{kept[-1]}").body()))
    assert [mask.getpixel((x, 80))[0] for x in (20, 128, 300)] == [255, 0, 255]
    stage.get_by_role("button", name="Clear mask").click()
    expect(source).to_contain_text("Without a mask the whole image")
    stroke(page, canvas, 0.4, 0.5)
    expect(source).to_contain_text("Only the masked area")
    stage.get_by_role("button", name="Undo").press("Enter")
    expect(source).to_contain_text("Without a mask the whole image")
    page.close()


@pytest.mark.slow
def test_boxes_are_drawn_on_the_stage_and_removed_by_a_click(app, browser):
    page = new_page(browser)
    open_generate(page, app, "en")
    stage, field = page.locator(".st-key-stage"), page.get_by_role("textbox", name="Refine boxes")
    page.evaluate(PASTE)
    canvas, frames = stage.locator("canvas"), stage.locator(".frames i")
    expect(canvas).to_be_visible()
    stage.get_by_role("button", name="Box", exact=True).click()
    drag(page, canvas, (0.1, 0.2), (0.4, 0.8))
    expect(field).to_have_value("96x96+32+32")
    drag(page, canvas, (0.9, 0.9), (0.5, 0.4))  # from the lower right
    expect(field).to_have_value("96x96+32+32, 128x80+160+64")
    expect(frames).to_have_count(2)
    expect(stage.get_by_role("button", name="Brush", exact=True)).to_be_disabled()
    field.fill("96x96+32+32, 128x80+160+64, 64x64+0+0")
    field.press("Enter")
    expect(frames).to_have_count(3)
    drag(page, canvas, (0.2, 0.5), (0.2, 0.5))
    expect(field).to_have_value("128x80+160+64, 64x64+0+0")
    stage.get_by_role("button", name="Undo").click()
    expect(field).to_have_value("128x80+160+64")
    stage.get_by_role("button", name="Clear boxes").click()
    expect(field).to_have_value("")
    expect(stage.get_by_role("button", name="Brush", exact=True)).to_be_enabled()
    page.close()


def drag(page, canvas, start, end):
    """From point to point, as shares of the image's width and height."""
    canvas.scroll_into_view_if_needed()
    area = canvas.bounding_box()
    page.mouse.move(area["x"] + start[0] * area["width"], area["y"] + start[1] * area["height"])
    page.mouse.down()
    page.mouse.move(area["x"] + end[0] * area["width"], area["y"] + end[1] * area["height"], steps=5)
    page.mouse.up()


def stroke(page, canvas, start, end):
    """Along the middle of the image, by shares of its width."""
    canvas.scroll_into_view_if_needed()
    area = canvas.bounding_box()
    x, y = area["x"], area["y"] + area["height"] / 2
    page.mouse.move(x + start * area["width"], y)
    page.mouse.down()
    page.mouse.move(x + end * area["width"], y, steps=6)
    page.mouse.up()
