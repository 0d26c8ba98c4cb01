"""Pause and resume in a real Chromium: in the middle of an image, with the button, with the key, and on the Queue page."""

from __future__ import annotations

import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.chromium import PATIENCE, new_page, open_generate, prompt_of

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)
SAME = ("prompt", "negative_prompt", "width", "height", "num_inference_steps", "cfg_scale", "seed")
PAUSE, RESUME = {"en": "Pause", "zh": "暂停"}, {"en": "Resume", "zh": "继续"}
LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])


def newest(page: Page, address: str):
    """Return the job that was added last."""
    return page.request.get(f"{address}/api/v1/jobs?limit=1").json()["jobs"][0]


def wait_for(page: Page, address: str, is_right) -> dict:
    """Return the newest job once `is_right(job)`, or fail after PATIENCE."""
    until = time.monotonic() + PATIENCE / 1000
    while not is_right(job := newest(page, address)):
        assert time.monotonic() < until, job
        page.wait_for_timeout(200)
    return job


def pause_and_resume(page: Page, address: str, language: str, steps: int, with_key: bool) -> dict:
    """Start a job of one image, pause it after its third step and resume it; return the job once it runs again.

    With the key both are done on the Generate page, else the job is resumed on the Queue page.
    """
    open_generate(page, address, language)
    prompt_of(page).fill("a red house")
    for name, value in (("seed", "7"), ("num_inference_steps", str(steps))):
        page.locator(f".st-key-w-generation-{name} input").fill(value)
    prompt_of(page).press("Control+Enter")
    pause = page.locator(".st-key-pause button:visible")
    expect(pause).to_contain_text(PAUSE[language])
    wait_for(page, address, lambda job: (job.get("progress") or {}).get("step", 0) >= 3)
    if with_key:
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("p")
    else:
        pause.click()
    held = wait_for(page, address, lambda job: job["held"] and job["state"] == "queued")
    assert held["images"] == []
    expect(pause).to_contain_text(RESUME[language])
    if with_key:
        page.keyboard.press("p")
    else:
        page.goto(f"{address}/queue?lang={language}")
        page.locator(f".st-key-resume_{held['id']} button:visible").click()
    return wait_for(page, address, lambda job: not job["held"] and job["state"] in ("running", "done"))


@pytest.mark.by_default("en")
@LANGUAGES
def test_a_job_pauses_and_goes_on(app, browser, language):
    page = new_page(browser)
    job = pause_and_resume(page, app, language, steps=150, with_key=language == "zh")
    assert job["state"] == "running"  # from its beginning: this worker keeps no state
    page.request.delete(f"{app}/api/v1/jobs/{job['id']}")
    page.close()


@pytest.mark.slow
@LANGUAGES
def test_the_image_is_the_one_that_was_never_paused(real_app, browser, language):
    page = new_page(browser)
    pause_and_resume(page, real_app, language, steps=80, with_key=language == "en")
    job = wait_for(page, real_app, lambda one: bool(one["images"]))
    resumed = page.request.get(f"{real_app}/api/v1/images/{job['images'][0]['id']}/record").json()
    assert resumed["effective"]["resume.resumed_at"][0] >= 3
    again = page.request.post(f"{real_app}/api/v1/jobs", data={name: job["request"][name] for name in SAME})
    assert again.ok, again.text()
    whole = wait_for(page, real_app, lambda one: one["id"] != job["id"] and bool(one["images"]))
    pixels = [
        np.asarray(Image.open(BytesIO(page.request.get(real_app + one["images"][0]["url"]).body())))
        for one in (job, whole)
    ]
    assert np.array_equal(*pixels)
    page.close()
