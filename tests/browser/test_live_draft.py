"""Live drafts in a real Chromium: a slider that is moved shows a draft, and its release generates the image."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
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
)
from tests.models import tiny_models

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


@pytest.mark.slow
def test_the_weight_of_a_controlnet_is_a_live_slider(browser, tmp_path):
    """A tiny Stable Diffusion with a ControlNet: each move asks for the same request with another weight of its unit."""
    tiny_models.stable_diffusion(tmp_path / "store" / "sd15")
    tiny_models.sd15_network(tmp_path / "store" / "controlnet" / "lines")
    square = Image.new("RGB", (64, 64))
    square.paste("white", (16, 16, 48, 48))
    buffer = io.BytesIO()
    square.save(buffer, "PNG")
    places = {"ZDARKROOM_MODELS__STORE": str(tmp_path / "store"), "ZDARKROOM_MODEL__ID": "sd15"}
    sizes = {"ZDARKROOM_GENERATION__WIDTH": "64", "ZDARKROOM_GENERATION__HEIGHT": "64"}
    with running_app(tmp_path / "outputs", **places, **sizes) as address:
        page = new_page(browser)
        open_generate(page, address, "en")
        prompt_of(page).fill("a box")
        page.locator(".st-key-w-generation-seed input").fill("7")
        section = open_section(page, "control")
        section.locator(".st-key-control_add button").click()
        section.locator(".st-key-control_upload_0 input[type=file]").set_input_files(
            {"name": "square.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
        )
        expect(section.locator(".st-key-control_unit_0 img")).to_be_visible()
        set_live(page)
        asked = []
        page.on("request", lambda request: asked.append(request.post_data_json) if "/drafts" in request.url else None)
        slider = section.locator(".st-key-unit-0-weight input[type=range]")
        slider.focus()
        shown, drafts, weights = page.locator("figure.live"), [], []
        for _ in range(2):
            before = shown.get_attribute("data-shown") or "0"
            slider.press("ArrowRight")
            expect(shown).not_to_have_attribute("data-shown", before)
            expect(shown).to_have_attribute("data-shown", re.compile("."))
            drafts.append(shown.locator("img").get_attribute("src"))
            weights.append(float(slider.input_value()))
        assert drafts[0] != drafts[1] and weights[0] < weights[1]
        units = [body["controlnet.units"] for body in asked]
        assert [float(unit.split(":")[1]) for (unit,) in (units[0], units[-1])] == weights
        page.close()
