"""A guarded studio in a real browser: nothing is seen before the login, everything after it, nothing after leaving."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from urllib.parse import urlparse

import pytest

pytest.importorskip("playwright.sync_api")
from PIL import Image
from playwright.sync_api import expect

from core.config.loader import load_settings
from core.server.auth.users import Users
from core.studio.bootstrap import build_studio
from tests.browser.chromium import PATIENCE, new_page, running_app

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PASSWORD = "correct horse 马"
FETCH = "(address) => fetch(address, {cache: 'no-store'}).then((answer) => answer.status)"
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def guarded(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a studio with one user and one image, on every address of this machine."""
    outputs = tmp_path_factory.mktemp("outputs")
    file = BytesIO()
    Image.new("RGB", (64, 64), (200, 60, 50)).save(file, "PNG")
    build_studio(load_settings(overrides={"output.directory": str(outputs)})).history.import_image(
        file.getvalue(), "red.png"
    )
    Users(outputs).add("安娜", PASSWORD)
    with running_app(outputs, ZDARKROOM_SERVER__HOST="0.0.0.0", ZDARKROOM_MODEL__PRELOAD="no") as address:
        yield address


@pytest.mark.slow
def test_nothing_before_the_login_and_nothing_after_leaving(guarded: str, browser) -> None:
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

    image = page.locator(".st-key-gallery img").first
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    address = image.get_attribute("src")
    cookie = next(one for one in browser.cookies() if one["name"].startswith("zdarkroom_session"))
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict") and cookie["expires"] > 0
    assert page.evaluate(FETCH, address) == 200

    other = new_page(browser)
    other.goto(f"{guarded}/queue?lang=en")
    other.locator(".zd-leave").click()
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_role("button", name="Log in")).to_be_visible()
    browser.add_cookies([cookie])  # one that was copied before is worth nothing either
    assert page.evaluate(FETCH, address) == 401
    browser.clear_cookies()
    other.close()
    page.close()
