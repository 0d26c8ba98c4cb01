"""Contact sheets: drawn when the last job has ended, every cell where it belongs, kept beside the images."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import insert, update

from core.errors import NotFoundError
from core.history.contact_sheet import CELL, GROUND, LABEL, LABEL_WIDTH, MARGIN
from core.history.store import History
from core.history.sweeps import SweepStore
from core.storage.database import Database, timestamp
from core.storage.tables import jobs
from core.types import Axis, ParameterSweep
from tests.unit.storage.conftest import build_image

AXES = (Axis("generation.num_inference_steps", (4, 8, 12)), Axis("vae.enable_tiling", (False, True)))
IDS = [f"job{k}" for k in range(6)]


def swept(database: Database, outputs: Path) -> tuple[SweepStore, ParameterSweep]:
    """A sweep of six jobs that all wait; the images of all but the fifth are there."""
    history = History(database, outputs)
    row = {"request": {}, "state": "queued", "created_at": timestamp(datetime.now(UTC)), "cancel_requested": False}
    with database.writing() as connection:
        connection.execute(insert(jobs), [{**row, "id": job_id, "place": k} for k, job_id in enumerate(IDS)])
    for k, job_id in enumerate(IDS):
        if k != 4:
            path = history.file(history.add(build_image((400, 200)), job_id).id)
            Image.new("RGB", (400, 200), (40 * k, 0, 200)).save(path)
    store = SweepStore(database, outputs)
    return store, store.add("a" * 32, AXES, IDS)


def end(database: Database, *ids: str) -> None:
    with database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(state="done"))


def test_a_sheet_is_rendered_when_its_last_job_has_ended(database: Database, outputs: Path) -> None:
    store, sheet = swept(database, outputs)
    assert store.get(sheet.id) == sheet and sheet.axes == AXES
    end(database, *IDS[:5])
    assert store.render_ended() == 0 and not (outputs / "sheets").exists()
    with pytest.raises(NotFoundError):
        store.file(sheet.id)
    end(database, IDS[5])
    assert store.render_ended() == 1 and store.render_ended() == 0
    assert store.file(sheet.id) == outputs / "sheets" / f"{sheet.id}.png"
    with Image.open(store.file(sheet.id)) as page:
        width, height, left, top = CELL, CELL // 2, LABEL_WIDTH, 3 * LABEL
        for k in range(6):
            x, y = left + k % 3 * (width + MARGIN) + width // 2, top + k // 3 * (height + MARGIN) + height // 2
            assert page.getpixel((x, y)) == (GROUND if k == 4 else (40 * k, 0, 200))
        for row in range(2):  # each label has ink
            corner = top + row * (height + MARGIN)
            assert len(page.crop((0, corner, left - MARGIN, corner + LABEL)).getcolors() or []) > 1


def test_whoever_asks_first_draws_it(database: Database, outputs: Path) -> None:
    store, sheet = swept(database, outputs)
    end(database, *IDS)
    assert store.file(sheet.id).is_file()
    store.file(sheet.id).unlink()
    assert store.file(sheet.id).is_file()  # again when it is gone


def test_a_damaged_image_is_an_empty_cell(database: Database, outputs: Path) -> None:
    store, sheet = swept(database, outputs)
    end(database, *IDS)
    for path in outputs.glob("????-??-??/*.png"):
        path.write_bytes(b"nothing")
    with Image.open(store.file(sheet.id)) as page:
        assert page.width == LABEL_WIDTH + 3 * (CELL + MARGIN)


@pytest.mark.parametrize("bad", ["", "../../studio", "f" * 32])
def test_unknown_sheets(database: Database, outputs: Path, bad: Any) -> None:
    for verb in (SweepStore(database, outputs).get, SweepStore(database, outputs).file):
        with pytest.raises(NotFoundError):
            verb(bad)
