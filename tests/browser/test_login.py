"""A guarded studio in a real browser: nothing is seen before the login, everything after it, nothing after leaving."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlparse

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

from core.entrypoints.access.users import Users
from tests.browser.chromium import new_page, prompt_of, running_app, stage_image

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PASSWORD = "correct horse 马"


@pytest.fixture(scope="module")
def guarded(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a studio with one user, on every address of this machine."""
    outputs = tmp_path_factory.mktemp("outputs")
    Users(outputs).add("安娜", PASSWORD)
    with running_app(outputs, ZDARKROOM_ACCESS__ADDRESS="0.0.0.0") as address:
        yield address


def test_login_picture_logout(guarded: str, browser) -> None:
    page = new_page(browser, width=420)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{guarded}/history?lang=zh")
    expect(page.locator("button")).to_have_text("登录")
    assert urlparse(page.url).path == "/login" and "static" not in "".join(asked)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 420
    page.get_by_label("用户名").fill("安娜")
    page.get_by_label("密码").fill("wrong password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("不正确，请重试。")
    page.get_by_label("用户名").fill("安娜")
    page.get_by_label("密码").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".stApp")).to_be_visible()
    assert urlparse(page.url).path == "/history", "where one wanted to go"

    page.goto(f"{guarded}/?lang=zh")
    prompt_of(page).fill("红色的房子，日落，雪山")
    prompt_of(page).press("Control+Enter")
    expect(page.locator(".st-key-download button")).to_be_visible()
    expect(stage_image(page)).to_have_attribute("src", re.compile("/api/images/"))
    picture = stage_image(page).get_attribute("src")
    cookie = next(one for one in browser.cookies() if one["name"].startswith("zdarkroom_session"))
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict") and cookie["expires"] > 0
    assert page.evaluate("fetch('/api/v1/jobs?mine=1').then((answer) => answer.json())")["jobs"][0]["state"] == "done"

    other = new_page(browser)
    other.goto(f"{guarded}/?lang=en")
    expect(prompt_of(other)).to_be_visible()
    other.locator(".zd-leave").click()
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_role("button", name="Log in")).to_be_visible()
    browser.add_cookies([cookie])  # one that was copied before is worth nothing either
    assert page.evaluate("(address) => fetch(address).then((answer) => answer.status)", picture) == 401
    browser.clear_cookies()
    other.close()
    page.close()
