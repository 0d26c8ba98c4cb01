"""A hundred thousand images in a real Chromium: the first look at the gallery, its middle, a search, and the memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image
from playwright.sync_api import expect

from core.storage.database import Database
from core.storage.image_writer import Thumbnails
from tests.browser.chromium import new_page, running_app
from tests.unit.storage.test_storage_search import fill

pytestmark = [pytest.mark.browser, pytest.mark.slow]
COUNT = int(os.environ.get("ZDARKROOM_PICTURES", "100000"))
SECONDS = 20  # far above what was measured, for a machine that is busy with other things
MEMORY = 50 << 20  # bytes that the server may grow by
SOURCES = 10  # files behind the names: a file has at most 65,000 names on ext4
MOST_TILES = 200  # that may exist at once


def furnish(directory: Path, count: int) -> None:
    """Rows, and a file and a thumbnail for each, which are links to a few."""
    database, thumbnails = Database(directory / "studio.db"), Thumbnails(directory)
    records = fill(database, range(count))
    database.close()
    sources = []
    for k in range(SOURCES):
        image = Image.new("RGB", (256, 256), (25 * k, 90, 200 - 20 * k))
        pair = directory / f"source{k}.png", directory / f"source{k}.webp"
        for path in pair:
            image.save(path)
        sources.append(pair)
    (directory / "2026-03-01").mkdir()
    for k in range(256):
        thumbnails.path(f"{k:032x}").parent.mkdir(parents=True, exist_ok=True)
    for k, record in enumerate(records):
        generated, small = sources[k % SOURCES]
        os.link(generated, directory / record.file)
        os.link(small, thumbnails.path(record.id))


def memory_of_server(address: str) -> int:
    """Bytes that are the server's alone."""
    port = int(address.rsplit(":", 1)[1])
    owner = next(one.pid for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port and one.pid)
    return int(psutil.Process(owner).memory_full_info().uss)


def test_the_gallery_of_a_hundred_thousand_is_there_at_once(browser, tmp_path):
    furnish(tmp_path, COUNT)
    with running_app(tmp_path, ZDARKROOM_MODEL__PRELOAD="false") as address:
        page = new_page(browser)
        page.goto(f"{address}/system?lang=en")
        page.locator(".zd-card").first.wait_for()
        page.get_by_role("link", name="History").click()  # once, so that modules are read and nothing is measured twice
        tiles = page.locator(".st-key-gallery .tile img")
        tiles.first.wait_for()
        page.get_by_role("link", name="System").click()
        page.locator(".zd-card").first.wait_for()
        before = memory_of_server(address)

        began = time.monotonic()
        page.get_by_role("link", name="History").click()
        tiles.nth(20).wait_for()
        page.wait_for_function(LOADED)
        first = time.monotonic() - began
        expect(page.locator(".st-key-selection")).to_contain_text(f"{COUNT} ")

        began = time.monotonic()
        page.locator(".st-key-gallery .grid").evaluate("box => { box.scrollTop = box.scrollHeight / 2; }")
        page.wait_for_function(LOADED)
        middle = time.monotonic() - began
        place = int(page.locator(".st-key-gallery .tile").nth(0).get_attribute("data-place"))
        assert abs(place - COUNT / 2) < 500
        assert page.locator(".st-key-gallery .tile").count() < MOST_TILES

        began = time.monotonic()
        page.get_by_label("Search", exact=True).fill("灯塔 sunset")
        page.get_by_label("Search", exact=True).press("Enter")
        expect(page.locator(".st-key-selection")).not_to_contain_text(f"{COUNT} ")
        page.wait_for_function(LOADED)
        found = time.monotonic() - began
        for share in (0.1, 0.9, 0.3, 0.7):
            page.locator(".st-key-gallery .grid").evaluate(
                "(box, s) => { box.scrollTop = box.scrollHeight * s; }", share
            )
            page.wait_for_function(LOADED)
        grown = memory_of_server(address) - before
    print(f"first view {first:.2f} s, middle {middle:.2f} s, search {found:.2f} s, memory +{grown / 2**20:.1f} MB")
    assert max(first, middle, found) < SECONDS
    assert grown < MEMORY


# Every tile that is in view has an image that is there. The grid is in the shadow of its component.
LOADED = """() => {
  const host = [...document.querySelectorAll(".st-key-gallery *")].find((one) => one.shadowRoot?.querySelector(".grid"));
  const box = host?.shadowRoot.querySelector(".grid");
  if (!box) return false;
  const area = box.getBoundingClientRect();
  const seen = [...box.querySelectorAll(".tile")].filter((tile) => {
    const at = tile.getBoundingClientRect();
    return at.bottom > area.top && at.top < area.bottom;
  });
  return seen.length > 10 && seen.every((tile) => tile.querySelector("img")?.complete);
}"""
