"""Ten thousand pictures: the first look at the gallery, and the way through it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect
from sqlalchemy import insert

from core.bootstrap import build_studio
from core.config.layers import load_settings
from core.storage.database import Database
from core.storage.images import StoredFile
from core.storage.records import image_record, image_row, new_id, picture_record
from core.storage.tables import image_records, images
from core.storage.thumbnails import Thumbnails
from core.types import Picture
from tests.browser.chromium import new_page, running_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]
COUNT = 10_000
SECONDS = 10  # far above what was measured, for a machine that is busy with other things


def fill(directory: Path, count: int) -> None:
    """Rows with a name of their own each; the files behind the names are a few, linked."""
    studio = build_studio(load_settings(overrides={"output.directory": str(directory)}))
    database, thumbnails = Database(directory / "studio.db"), Thumbnails(directory)
    picture = Image.new("RGB", (256, 256), (180, 90, 40))
    (directory / "2026-01-01").mkdir()
    first = directory / "2026-01-01" / "first.png"
    picture.save(first)
    rows, records = [], []
    asked = studio.new_request({"prompt": "a red house"})
    for k in range(count):
        created_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=k)
        image_id = new_id(created_at)
        request = replace(asked, prompt=f"a red house number {k}", seed=k)
        made = Picture(picture, request, (256, 256), {"text": 0.1, "steps": 2.0, "decode": 0.2}, {"device": "cpu"})
        data = picture_record(made, image_id, None, created_at)
        stored = StoredFile(f"2026-01-01/{image_id}.png", "png", (256, 256), first.stat().st_size)
        os.link(first, directory / stored.file)
        small = thumbnails.path(image_id)
        small.parent.mkdir(parents=True, exist_ok=True)
        if k < 7:
            picture.save(small)
            source = small
        else:
            os.link(source, small)
        rows.append(image_row(image_record(data, stored)))
        records.append({"image_id": image_id, "record": data})
    first.unlink()
    with database.writing() as connection:
        connection.execute(insert(images), rows)
        connection.execute(insert(image_records), records)


def test_the_gallery_of_ten_thousand_is_there_at_once(browser, tmp_path):
    fill(tmp_path, COUNT)
    with running_app(tmp_path, ZDARKROOM_MODEL__PRELOAD="false") as address:
        page = new_page(browser)
        page.goto(f"{address}/system?lang=en")
        page.locator(".zd-card").first.wait_for()
        began = time.monotonic()
        page.get_by_role("link", name="History").click()
        shown = page.locator(".st-key-gallery img")
        expect(shown).to_have_count(60)
        first = time.monotonic() - began
        expect(page.locator(".st-key-pager")).to_contain_text("10000")
        began = time.monotonic()
        page.locator(".st-key-older button").click()
        expect(page.locator(".st-key-pager")).to_contain_text("Page 2")
        following = time.monotonic() - began
        began = time.monotonic()
        page.get_by_label("Text", exact=True).fill("number 4711")
        page.get_by_label("Text", exact=True).press("Enter")
        expect(shown).to_have_count(1)
        found = time.monotonic() - began
    print(f"first gallery {first:.2f} s, next page {following:.2f} s, search {found:.2f} s")
    assert max(first, following, found) < SECONDS
