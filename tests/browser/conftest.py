"""Share one server and one browser among the tests of this folder; skip, with a reason, without Chromium or the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config.loader import load_settings
from core.studio.bootstrap import build_studio

chromium = pytest.importorskip("tests.browser.chromium", reason="Playwright is not installed")


@pytest.fixture(scope="package")
def browser() -> Iterator[object]:
    if not Path(chromium.CHROMIUM).exists():
        pytest.skip("there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = chromium.launch(playwright)
        yield context
        context.browser.close()


@pytest.fixture(scope="package")
def app(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of the real app with the embedded model."""
    outputs = tmp_path_factory.mktemp("outputs")
    problem = build_studio(load_settings(overrides={"output.directory": str(outputs)})).catalog.find("demo").problem
    if problem is not None:
        pytest.skip(f"the embedded model is not there: {problem}")
    with chromium.running_app(outputs) as address:
        yield address
