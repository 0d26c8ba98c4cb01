"""Sweeps: one picture drawn again over the values of one or two options, and the contact sheet of them all.

A sweep is a row with its axes and its jobs, in reading order; its sheet is a file, `<outputs>/sheets/<id>.png`.
What this module does not know: how jobs run.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from sqlalchemy import Row, insert, select

from core.errors import NotFoundError
from core.storage.database import Database, moment, stamp
from core.storage.files import write_atomically
from core.storage.records import is_id, new_id
from core.storage.tables import sheets
from core.types import Axis, Sheet

FOLDER = "sheets"
CELL, MARGIN, LABEL = 320, 8, 30  # px
GROUND, INK = (250, 248, 245), (38, 33, 28)


class Sheets:
    """The sweeps below one output directory."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory / FOLDER

    def add(self, image_id: str, axes: Sequence[Axis], jobs: Sequence[str]) -> Sheet:
        """Remember a sweep whose jobs are in the queue."""
        created_at = datetime.now(UTC)
        sheet_id = new_id(created_at)
        values = {
            "id": sheet_id,
            "created_at": stamp(created_at),
            "image_id": image_id,
            "axes": [{"key": axis.key, "values": list(axis.values)} for axis in axes],
            "jobs": list(jobs),
        }
        with self._database.writing() as connection:
            connection.execute(insert(sheets).values(values))
        return self.get(sheet_id)

    def get(self, sheet_id: str) -> Sheet:
        """Raises NotFoundError."""
        with self._database.reading() as connection:
            row = connection.execute(select(sheets).where(sheets.c.id == sheet_id)).one_or_none()
        if row is None:
            raise NotFoundError(kind="sheet", came=sheet_id)
        return _sheet(row)

    def file(self, sheet_id: str) -> Path:
        """The contact sheet. Raises NotFoundError until it is made."""
        path = self._directory / f"{sheet_id}.png"
        if not is_id(sheet_id) or not path.is_file():
            raise NotFoundError(kind="contact sheet", came=sheet_id)
        return path

    def draw(self, sheet: Sheet, pictures: Sequence[Path | None]) -> Path:
        """Make the contact sheet from the cells' files, None where there is no picture. Raises StorageError."""
        buffer = io.BytesIO()
        _drawn(sheet, pictures).save(buffer, "PNG")
        path = self._directory / f"{sheet.id}.png"
        write_atomically(path, buffer.getvalue())
        return path


def _sheet(row: Row[Any]) -> Sheet:
    created_at = moment(row.created_at)
    assert created_at is not None
    axes = tuple(Axis(axis["key"], tuple(axis["values"])) for axis in row.axes)
    return Sheet(row.id, created_at, row.image_id, axes, tuple(row.jobs))


def _drawn(sheet: Sheet, pictures: Sequence[Path | None]) -> Image.Image:
    """Columns are the values of the first axis, rows those of the second, each with its label."""
    columns = len(sheet.axes[0].values)
    rows = len(sheet.axes[1].values) if len(sheet.axes) > 1 else 1
    left = 150 if rows > 1 else MARGIN
    page = Image.new("RGB", (left + columns * (CELL + MARGIN), 2 * LABEL + rows * (CELL + MARGIN)), GROUND)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    pen.text((left, 6), " x ".join(axis.key for axis in sheet.axes), INK, font)
    for k, value in enumerate(sheet.axes[0].values):
        pen.text((left + k * (CELL + MARGIN), LABEL + 4), f"{value}", INK, font)
    for k in range(rows if len(sheet.axes) > 1 else 0):
        pen.text((MARGIN, 2 * LABEL + k * (CELL + MARGIN)), f"{sheet.axes[1].values[k]}", INK, font)
    for place, path in enumerate(pictures):
        corner = (left + place % columns * (CELL + MARGIN), 2 * LABEL + place // columns * (CELL + MARGIN))
        if path is None:
            pen.rectangle((*corner, corner[0] + CELL, corner[1] + CELL), outline=INK)
            continue
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((CELL, CELL))
            page.paste(small, corner)
    return page
