"""Why two images differ, in a real Chromium: from the comparison to the ranking and the strip, which F5 keeps."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE, new_page

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)


def made(page, app, **order):
    """Return the id of an image of this order, through the API."""
    base = {"prompt": "a red house", "width": 64, "height": 64, "num_inference_steps": 2, "seed": 7}
    job = page.request.post(f"{app}/api/v1/jobs", data={**base, **order}).json()["id"]
    until = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < until:
        found = page.request.get(f"{app}/api/v1/jobs/{job}").json()
        if found["images"]:
            return found["images"][0]["id"]
        page.wait_for_timeout(100)
    raise AssertionError(found)


@pytest.mark.by_default("en")
@pytest.mark.parametrize(
    ("language", "seed", "moved"), [("en", "Seed: 7 → 9", "mean difference"), ("zh", "随机种子: 7 → 9", "平均差异")],
    ids=["en", "zh"],
)  # fmt: skip
def test_from_two_images_to_the_ranking(app, browser, language, seed, moved):
    page = new_page(browser)
    ids = made(page, app), made(page, app, seed=9, **{"vae.enable_tiling": True})
    page.goto(f"{app}/compare?lang={language}&ids={','.join(ids)}")
    study = page.locator(".st-key-why")
    expect(study.locator("ol li").last).to_have_text(seed)
    page.locator(".st-key-why_start button:visible").click()
    page.locator(".st-key-why_again button:visible").wait_for()
    first = study.locator("ol li").first
    expect(first).to_contain_text(seed)
    expect(first).to_contain_text(moved)
    assert study.locator("ol li").count() == 2 and study.locator(".zd-steps figure").count() == 3
    page.reload()
    expect(study.locator("ol li").first).to_contain_text(seed)
    page.close()
