"""An image to start from in a real Chromium: pasted, painted on and kept over pages."""

from __future__ import annotations

import io

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


def stroke(page, canvas, start, end):
    """Along the middle of the image, by shares of its width."""
    canvas.scroll_into_view_if_needed()
    area = canvas.bounding_box()
    x, y = area["x"], area["y"] + area["height"] / 2
    page.mouse.move(x + start * area["width"], y)
    page.mouse.down()
    page.mouse.move(x + end * area["width"], y, steps=6)
    page.mouse.up()
