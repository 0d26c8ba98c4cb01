"""The guide's four steps, what is in effect beside what is chosen, the question before a reload, and cures at a click."""

from __future__ import annotations

import re
import time

import pytest
from PIL import Image
from playwright.sync_api import expect

from core.config.loader import load_settings
from core.errors import CorruptImageError, OutOfMemoryError
from core.studio.bootstrap import build_studio
from core.types import JobState
from tests.browser.chromium import (
    download_button,
    finished_image,
    new_page,
    open_generate,
    prompt_of,
    running_app,
    stage_image,
)
from tests.browser.screenshots import generate

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(3600)]
FEW = {"width": 128, "height": 128, "num_inference_steps": 4}
SHORT = {f"ZDARKROOM_GENERATION__{key.upper()}": str(value) for key, value in FEW.items()}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def small_app(browser, outputs):
    """The app with small images as its default."""
    with running_app(outputs, **SHORT) as address:
        yield address


@pytest.fixture
def planter(outputs):
    """Another studio over the same folder: its jobs are drawn by the app's worker, or ended as the test says."""
    return build_studio(load_settings(overrides={"output.directory": str(outputs)}))


def test_the_guide_walks_through_its_four_steps(small_app, browser):
    page = new_page(browser)
    page.goto(f"{small_app}/guide?lang=en")
    for number, key in enumerate(("stable", "quality", "speed", "control")):
        page.locator(f".st-key-run_{key} button").click()
        expect(page.locator(f".st-key-progress_{key}")).to_be_visible()
        expect(page.locator(f".st-key-step_{key} .zd-checks")).to_be_visible(timeout=600_000)
        expect(page.locator(".zd-checks")).to_have_count(number + 1)
    assert page.locator(".zd-checks li.no").all_text_contents() == []
    expect(page.get_by_text("Passed").or_(page.locator(".stAlert"))).not_to_have_count(0)
    page.close()


def finished(page, before=""):
    """The address of the image that is done, another one than `before`."""
    expect(stage_image(page)).not_to_have_attribute("src", before)
    image = finished_image(page)
    expect(download_button(page)).to_be_visible()
    return image.get_attribute("src")


def test_what_is_in_effect_stands_beside_what_is_chosen(small_app, browser):
    """A live option acts on the next image; a reload is asked about once, with the time that the last one took."""
    page = new_page(browser)
    open_generate(page, small_app, "en")
    prompt_of(page).fill("a red house, day")
    page.locator(".st-key-generate button").click()
    first = finished(page)
    page.locator(".st-key-option_search input").fill("vae")
    page.keyboard.press("Enter")
    panel = page.locator(".st-key-ask")
    tiles = panel.get_by_role("switch", name=re.compile("^Tiled VAE")).or_(
        panel.get_by_role("checkbox", name=re.compile("^Tiled VAE"))
    )
    expect(panel.get_by_text(re.compile(r"reloads model \d"))).not_to_have_count(0)  # how long it took last time
    tiles.first.evaluate("box => box.click()")
    expect(panel.get_by_text(re.compile("now: (false|off|no)"))).to_be_visible()
    page.locator(".st-key-generate button").click()
    expect(panel.get_by_text(re.compile("now: (false|off|no)"))).to_have_count(0)

    finished(page, first)  # the page is drawn anew then, which closes an open list
    precision = panel.locator(".stSelectbox", has_text="Precision of the VAE").locator("input")
    precision.scroll_into_view_if_needed()
    page.wait_for_timeout(500)  # scrolling closes a list, too: one that is opened by the same move of the hand
    precision.click()
    page.get_by_role("option", name="bfloat16").click()
    expect(panel.get_by_text(re.compile("now: "))).to_be_visible()
    page.locator(".st-key-generate button").click()
    question = page.locator(".st-key-reload_question")
    expect(question.or_(page.locator(".st-key-progress")).first).to_be_visible()
    if question.count():  # only where loading took its time, as on a busy machine
        expect(question).to_contain_text(re.compile(r"took \d.* s last time: Precision of the VAE"))
        page.locator(".st-key-reload_go button").click()
        expect(question).to_have_count(0)
    expect(panel.get_by_text(re.compile("now: "))).to_have_count(0)
    page.locator(".st-key-generate button").click()
    expect(question).to_have_count(0)
    page.close()


def test_faults_are_found_and_cured_at_a_click(small_app, browser, planter):
    """Each is planted in the app's own queue or history; the cure is queued by the button and takes the GPU away."""
    asked = planter.requests.new({"prompt": "a red house, day", "seed": 5, **FEW})
    planter.queue.pause(True)
    for error in (
        OutOfMemoryError(device="cuda", width=128, height=128),
        CorruptImageError(component="vae", value="NaN or Inf", step=4),
    ):
        planter.queue.finish(planter.queue.submit(asked).id, JobState.FAILED, error)
    planter.queue.pause(False)
    image_id = generate(planter, planter.requests.new({"prompt": "a blue car, day", "seed": 6, **FEW}))
    with Image.open(planter.history.file(image_id)) as whole:
        half = whole.resize((64, 64))
    half.save(planter.history.file(image_id))
    generate(planter, planter.requests.new({"prompt": "招牌上写着你好", "seed": 7, "negative_prompt": "car", **FEW}))
    page = new_page(browser)
    page.goto(f"{small_app}/system?lang=en")
    for kind in ("black", "memory", "size", "text", "guidance"):
        expect(page.locator(f".st-key-cure_{kind}")).to_be_visible()
    cures, none = page.locator("[class*=st-key-cure_] button"), page.get_by_text("No fault")
    for _ in range(8):  # one cure may answer two faults
        expect(cures.or_(none).first).to_be_visible()
        if none.count():
            break
        left = cures.count()
        cures.first.click()
        expect(cures).not_to_have_count(left)
    until = time.monotonic() + 300
    while planter.queue.active() and time.monotonic() < until:  # what was run again is drawn
        time.sleep(0.5)
    assert all(job.state is JobState.DONE for job in planter.queue.recent(3))
    expect(page.get_by_text("No fault")).to_be_visible()
    page.close()
