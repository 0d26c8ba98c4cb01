"""Contact sheets: every cell where it belongs, and kept beside the pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from core.errors import NotFoundError
from core.storage.database import Database
from core.storage.sheets import CELL, GROUND, LABEL, MARGIN, Sheets
from core.types import Axis

AXES = (Axis("generation.num_inference_steps", (4, 8, 12)), Axis("vae.enable_tiling", (False, True)))


def test_a_sheet_is_remembered_and_drawn(database: Database, outputs: Path, tmp_path: Path) -> None:
    store = Sheets(database, outputs)
    sheet = store.add("a" * 32, AXES, [f"job{k}" for k in range(6)])
    assert store.get(sheet.id) == sheet and sheet.axes == AXES
    with pytest.raises(NotFoundError):
        store.file(sheet.id)
    pictures: list[Path | None] = []
    for k in range(6):
        path = tmp_path / f"{k}.png"
        Image.new("RGB", (400, 400), (40 * k, 0, 200)).save(path)
        pictures.append(path)
    pictures[4] = None
    assert store.draw(sheet, pictures) == store.file(sheet.id) == outputs / "sheets" / f"{sheet.id}.png"
    with Image.open(store.file(sheet.id)) as page:
        left = page.width - 3 * (CELL + MARGIN)
        for k in range(6):
            x, y = left + k % 3 * (CELL + MARGIN) + CELL // 2, 2 * LABEL + k // 3 * (CELL + MARGIN) + CELL // 2
            assert page.getpixel((x, y)) == (GROUND if k == 4 else (40 * k, 0, 200))
        for row in range(2):  # each label has ink
            corner = 2 * LABEL + row * (CELL + MARGIN)
            assert len(page.crop((0, corner, left - MARGIN, corner + LABEL)).getcolors() or []) > 1


@pytest.mark.parametrize("bad", ["", "../../studio", "f" * 32])
def test_unknown_sheets(database: Database, outputs: Path, bad: str) -> None:
    for verb in (Sheets(database, outputs).get, Sheets(database, outputs).file):
        with pytest.raises(NotFoundError):
            verb(bad)
