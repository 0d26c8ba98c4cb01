"""A queue of more than 200 jobs of another person, in a real browser: one's own job is seen, with its position."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from core.config.loader import load_settings
from core.server.auth.users import Users
from core.studio.bootstrap import build_studio
from core.types import SubmitOptions
from tests.browser.chromium import PATIENCE, new_page, running_app

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
PASSWORD = "correct horse 马"
OTHERS = 230
WORDS = {
    "en": ("Name", "Password", f"Other clients · {OTHERS}", "Yours · 1"),
    "zh": ("用户名", "密码", f"其他客户端 · {OTHERS}", "我的任务 · 1"),
}
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def busy(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a paused studio with 230 jobs of bert before one of anna, who is an admin."""
    outputs = tmp_path_factory.mktemp("outputs")
    for name in ("anna", "bert"):
        Users(outputs).add(name, PASSWORD)
    studio = build_studio(load_settings(overrides={"output.directory": str(outputs)}))
    studio.queue.pause(True)
    small = {"model.id": "demo", "generation.width": 64, "generation.height": 64}
    theirs = [studio.requests.new({**small, "generation.prompt": f"house {k}"}) for k in range(OTHERS)]
    studio.queue.submit_all(theirs, SubmitOptions(client="user:bert"), lambda connection, ids: None)
    own = studio.requests.new({**small, "generation.prompt": "a red house of anna"})
    studio.queue.submit(own, SubmitOptions(client="user:anna"))
    with running_app(outputs, ZDARKROOM_MODEL__PRELOAD="no") as address:
        yield address


@pytest.mark.parametrize("language", WORDS)
def test_own_jobs_are_seen_behind_many_of_others(busy: str, browser, language: str) -> None:
    name, password, others, mine = WORDS[language]
    page = new_page(browser)
    page.goto(f"{busy}/queue?lang={language}")
    if page.get_by_label(password).count():
        page.get_by_label(name).fill("anna")
        page.get_by_label(password).fill(PASSWORD)
        page.keyboard.press("Enter")
    heads = page.locator("h3")
    expect(heads.filter(has_text=mine)).to_be_visible()
    expect(heads.filter(has_text=others)).to_be_visible()
    rows = page.locator("[class*=st-key-row_]")
    expect(rows.first).to_contain_text("a red house of anna")
    expect(rows.first.locator(".zd-place")).to_have_text(str(OTHERS + 1))
    expect(rows.nth(1).locator(".zd-place")).to_have_text("1")
    page.locator(".st-key-following_others button").click()
    expect(rows.nth(1).locator(".zd-place")).to_have_text("16")
    expect(rows.first).to_contain_text("a red house of anna")
    expect(page.locator("body")).not_to_contain_text(re.compile("house 2"))  # an admin sees that there are jobs, not what they show
    page.close()
