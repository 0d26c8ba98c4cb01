"""Share one server and one browser among the tests of this folder; skip, with a reason, without Chromium or the model."""

from __future__ import annotations

import json
import urllib.request
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
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new output folder; the test is skipped without the embedded model, which the forms are filled for."""
    folder = tmp_path_factory.mktemp("outputs")
    problem = build_studio(load_settings(overrides={"output.directory": str(folder)})).catalog.find("demo").problem
    if problem is not None:
        pytest.skip(f"the embedded model is not there: {problem}")
    return folder


@pytest.fixture(scope="package")
def app(browser: object, outputs: Path) -> Iterator[str]:
    """Yield the address of the app with a worker that draws plain images."""
    with chromium.running_app(outputs / "fake", "tests.browser.fake_app") as address:
        yield address


@pytest.fixture(scope="package")
def real_app(browser: object, outputs: Path) -> Iterator[str]:
    """Yield the address of the real app with the embedded model, whose worker takes ten seconds to start."""
    with chromium.running_app(outputs / "real") as address:
        yield address


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Cancel jobs and close tabs that a test leaves: one that fails is no reason for its second try, or the next test, to fail."""
    yield
    for name in ("app", "real_app"):
        if name in request.fixturenames:
            _cancel_jobs(request.getfixturevalue(name))
    if "browser" in request.fixturenames:
        for page in request.getfixturevalue("browser").pages:
            page.close()


def _cancel_jobs(address: str) -> None:
    with urllib.request.urlopen(f"{address}/api/v1/jobs?limit=200", timeout=60) as answer:
        jobs = json.load(answer)["jobs"]
    for job in jobs:
        if job["state"] not in ("done", "failed", "cancelled"):
            asked = urllib.request.Request(f"{address}/api/v1/jobs/{job['id']}", method="DELETE")
            urllib.request.urlopen(asked, timeout=60).close()
