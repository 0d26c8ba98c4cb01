"""The Models page in a real browser: a toy from a stand-in hub is fetched, paused, gone on with, loaded, drawn with, deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE, new_page, running_app
from tests.unit.hub.fake_hub import serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SHOTS = os.environ.get("MODELS_SHOTS")  # a folder, to look at the page


def shoot(page, name):
    if SHOTS:
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def test_from_a_hub_to_a_image(browser, tmp_path):
    from tests.models import tiny_models

    repository = tiny_models.stable_diffusion(tmp_path / "repository" / "toy")
    with serving(repository) as hub:
        hub.seconds_a_chunk, hub.chunk = 1.0, 1024  # it lasts until the test has seen what it looks for
        environment = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
        environment |= {"HF_HOME": str(tmp_path / "hf"), "MODELSCOPE_CACHE": str(tmp_path / "ms")}
        with running_app(tmp_path / "outputs", **environment) as address:
            page = new_page(browser)
            page.set_default_timeout(PATIENCE)
            page.goto(f"{address}/models?lang=en")
            card = page.locator(".st-key-model_sd15")
            card.get_by_role("button", name="Download").click()
            shoot(page, "choose")
            page.get_by_role("button", name="Start").click()
            card.get_by_role("button", name="Pause").click()
            expect(card).to_contain_text("Paused at", timeout=PATIENCE)
            shoot(page, "paused")
            card.get_by_role("button", name="Resume").click()
            expect(card).to_contain_text("/s", timeout=PATIENCE)
            shoot(page, "running")
            hub.seconds_a_chunk, hub.chunk = 0.0, 65536
            card.get_by_role("button", name="Load").click()
            expect(page.locator(".st-key-in_memory")).to_contain_text("In memory: sd15", timeout=PATIENCE)
            shoot(page, "loaded")
            for name, lang, width, scheme in (
                ("wide-zh-light", "zh", 1440, "light"),
                ("narrow-en-dark", "en", 420, "dark"),
                ("narrow-zh-light", "zh", 420, "light"),
            ):
                if SHOTS:
                    other = new_page(browser, width, 900, scheme)
                    other.goto(f"{address}/models?lang={lang}")
                    other.locator(".st-key-model_sd15 button").first.wait_for()
                    shoot(other, name)
                    other.close()
            page.get_by_role("button", name="Unload").click()
            expect(page.locator(".st-key-in_memory")).to_contain_text("No model is in memory", timeout=PATIENCE)
            card.get_by_role("button", name="Delete").click()
            page.locator(".st-key-delete_sd15 button").click()
            expect(card.get_by_role("button", name="Download")).to_be_visible(timeout=PATIENCE)
            assert not (tmp_path / "outputs" / "models" / "sd15").exists()
            page.close()
