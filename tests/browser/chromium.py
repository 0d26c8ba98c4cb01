"""A real Chromium and the real app, for tests and for screenshots.

The server is started as `start.py` starts it, over an output folder of its own and on a free port.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page, Playwright, expect

from core.config.loader import PROJECT_ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-gpu-rasterization",  # Debian's Chromium asks for it, and would then draw with a GPU that is calculated
    "--disable-gpu-compositing",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 120_000  # ms; an image takes seconds on an idle machine


@contextmanager
def running_app(outputs: Path, module: str = "ui.serve", **environment: str) -> Iterator[str]:
    """The address of a server of its own; it and its worker end with the block. `module`: what is run, the app or `fake_app`."""
    port = _free_port()
    variables = {
        **os.environ,
        "ZDARKROOM_OUTPUT__DIRECTORY": str(outputs),
        "ZDARKROOM_SERVER__PORT": str(port),
        "PYTHONPATH": str(PROJECT_ROOT),
        **environment,
    }
    log = outputs / "server.log"
    outputs.mkdir(parents=True, exist_ok=True)
    with log.open("w") as sink:
        command = [sys.executable, "-m", module]
        server = subprocess.Popen(command, cwd=PROJECT_ROOT, env=variables, stdout=sink, stderr=sink)
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"the app did not start:\n{log.read_text(errors='replace')[-2000:]}")


def launch(playwright: Playwright, locale: str = "zh-CN") -> BrowserContext:
    """Headless and silent towards the network. All tabs share its cache: the frontend is read once, not for each test.

    Nothing moves: what is animated while a page is waited for takes as long to draw as the page.
    """
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    context = browser.new_context(
        locale=locale, permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return context


def new_page(context: BrowserContext, width: int = 1440, height: int = 900, scheme: str = "dark") -> Page:
    """Return a tab of this size in "light" or "dark"."""
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    return page


def open_generate(page: Page, address: str, language: str = "", draft: bool = False) -> None:
    """Open the Generate page and wait until its button is there; without a language in the browser's own.

    All tabs of the tests share one storage: unless `draft`, what another test typed is forgotten first.
    """
    if not draft:
        page.goto(f"{address}/_stcore/health")
        page.evaluate("localStorage.clear()")
    page.goto(f"{address}/?lang={language}" if language else address)
    wait_for_draft(page)


def wait_for_draft(page: Page) -> None:
    """Wait until the Generate page takes input: what the browser had kept of the form is back."""
    page.locator("html[data-kept-draft]").wait_for(state="attached")
    prompt_of(page).wait_for()  # Streamlit loads the code of a widget when the first is shown
    page.locator(".st-key-generate button").wait_for()


def open_benchmark(page: Page, address: str, draft: bool = False) -> None:
    """Open the Benchmark page and wait until it takes input; unless `draft`, what another test typed is forgotten first."""
    if not draft:
        page.goto(f"{address}/_stcore/health")
        page.evaluate("localStorage.clear()")
    page.goto(f"{address}/comparison?lang=en")
    wait_for_benchmark(page)


def wait_for_benchmark(page: Page) -> None:
    """Wait until what the browser had kept of the Benchmark page is back."""
    page.locator("html[data-kept-benchmark]").wait_for(state="attached")
    page.locator(".st-key-start_benchmark button").wait_for()


def prompt_of(page: Page):
    """The prompt's field."""
    return page.locator(".st-key-prompt textarea")


def open_section(page: Page, name: str) -> Locator:
    """Open an accordion of the form and return it."""
    wait_for_draft(page)
    section = page.locator(f".st-key-section_{name}")
    if section.locator("details[open]").count() == 0:
        section.locator("summary").click()
    return section


def stage_image(page: Page):
    """The large image, forming or finished; for a moment the one before it stands beside it."""
    return page.locator(".st-key-stage_image img").first


def finished_image(page: Page) -> Locator:
    """Return the stage's image once it is done; until then previews stand there."""
    image = stage_image(page)
    expect(image).to_have_attribute("src", re.compile("/api/images/[0-9a-f]{32}$"))
    return image


def download_button(page: Page) -> Locator:
    """Return the finished image's download; Streamlit draws a button with a tooltip twice, for wide and for narrow windows."""
    return page.locator(".st-key-download button:visible")
