"""Store sweeps: one image generated over the values of one to three axes, and their contact sheet.

A sweep is a row with its axes and its jobs, in reading order; its sheet is a file beside the folders of dates.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import Connection, Row, insert, select

from core.config.options import SCHEMA
from core.errors import NotFoundError
from core.history import contact_sheet
from core.history.hidden_collections import EVERYTHING, Scope
from core.history.record_codec import is_id, new_id
from core.storage.database import Database, moment, timestamp
from core.storage.files import Files, files_of, write_atomically
from core.storage.tables import images, jobs, sheets
from core.types import STORED_OFFSET, Axis, JobState, ParameterSweep, cfg_of

FOLDER = "sheets"


class SweepStore:
    """The sweeps of one database; their contact sheets are made again on a machine that lacks them."""

    def __init__(self, database: Database, place: Files | Path, scope: Callable[[], Scope] = lambda: EVERYTHING) -> None:
        """Open the sweeps; `scope` is asked at each call which of them may be seen."""
        self._scope = scope
        self._database = database
        self._files = files_of(place)
        self._directory = self._files.local / FOLDER
        self._settled: set[str] = set()  # ids of sweeps whose sheets are there

    def seen_by(self, scope: Callable[[], Scope]) -> SweepStore:
        """Return the same sweeps as far as `scope` shows their jobs."""
        return SweepStore(self._database, self._files, scope)

    def put(self, connection: Connection, image_id: str, axes: Sequence[Axis], jobs: Sequence[str]) -> str:
        """Write a sweep in the transaction that writes its jobs, and return its id. `image_id` is "" without an image."""
        created_at = datetime.now(UTC)
        sheet_id = new_id(created_at)
        values = {
            "id": sheet_id,
            "created_at": timestamp(created_at),
            "image_id": image_id,
            "axes": [{"key": axis.key, "values": list(axis.values)} for axis in axes],
            "jobs": list(jobs),
        }
        connection.execute(insert(sheets).values(values))
        return sheet_id

    def add(self, image_id: str, axes: Sequence[Axis], jobs: Sequence[str]) -> ParameterSweep:
        """Store a sweep whose jobs are in the queue."""
        with self._database.writing() as connection:
            sheet_id = self.put(connection, image_id, axes, jobs)
        return self.get(sheet_id)

    def get(self, sheet_id: str) -> ParameterSweep:
        """Return a sweep. Raises NotFoundError."""
        with self._database.reading() as connection:
            row = connection.execute(select(sheets).where(sheets.c.id == sheet_id)).one_or_none()
            seen = row is not None and self._scope().may_see_jobs(connection, row.jobs)
        if row is None or not seen:
            raise NotFoundError(kind="X/Y plot", value=sheet_id)
        return _sheet(row)

    def file(self, sheet_id: str) -> Path:
        """Return the contact sheet, made now if its last job has ended since. Raises NotFoundError before that, or StorageError."""
        path = self._path(sheet_id)
        if is_id(sheet_id) and not self._scope().unlimited:
            self.get(sheet_id)
        if not is_id(sheet_id) or not (path.is_file() or self._render(self.get(sheet_id))):
            raise NotFoundError(kind="contact sheet", value=sheet_id)
        return path

    def render_ended(self) -> int:
        """Make the contact sheet of every finished sweep that has none; return how many. Raises StorageError."""
        with self._database.reading() as connection:
            ids = set(connection.scalars(select(sheets.c.id)))
        rendered = 0
        for sheet_id in sorted(ids - self._settled):
            there = self._path(sheet_id).is_file()
            if there or self._render(self.get(sheet_id)):
                self._settled.add(sheet_id)
                rendered += not there
        return rendered

    def _path(self, sheet_id: str) -> Path:
        return self._directory / f"{sheet_id}.png"

    def _render(self, sweep: ParameterSweep) -> bool:
        """Make the contact sheet if all jobs have ended, and return whether they have. A missing job has ended."""
        with self._database.reading() as connection:
            selected = select(jobs.c.state).where(jobs.c.id.in_(sweep.jobs))
            if any(JobState(state).active for state in connection.scalars(selected)):
                return False
            made = select(images.c.job_id, images.c.file).where(images.c.job_id.in_(sweep.jobs))
            files = {row.job_id: self._files.path(row.file) for row in connection.execute(made)}
        buffer = io.BytesIO()
        _rendered(sweep, [files.get(job_id) for job_id in sweep.jobs]).save(buffer, "PNG")
        write_atomically(self._path(sweep.id), buffer.getvalue())
        return True


def _sheet(row: Row[Any]) -> ParameterSweep:
    created_at = moment(row.created_at)
    assert created_at is not None
    axes = tuple(_axis(axis["key"], axis["values"]) for axis in row.axes)
    return ParameterSweep(row.id, created_at, row.image_id, axes, tuple(row.jobs))


def _axis(key: str, values: Sequence[Any]) -> Axis:
    """Return a stored axis under its option's present key; version 0.1.0 kept CFG - 1, and later ones the CFG scale."""
    if key == "generation.guidance_scale":
        return Axis("generation.cfg_scale", tuple(cfg_of(value, STORED_OFFSET) for value in values))
    return Axis(SCHEMA.current_key(key), tuple(values))


def _rendered(sweep: ParameterSweep, all_generated: Sequence[Path | None]) -> Image.Image:
    """Make the contact sheet: columns are the values of the first axis, rows those of the second."""
    across, *down = sweep.axes
    rows = product(*(axis.values for axis in reversed(down)))  # of a third axis, a block of rows for each value
    return contact_sheet.draw(
        all_generated, [*map(_label, across.values)], ["\n".join(map(_label, row)) for row in rows],
        [*map(_name, sweep.axes)],
    )  # fmt: skip


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _name(axis: Axis) -> str:
    """Return the option's key: the font that is everywhere has no Chinese."""
    return axis.key.removeprefix("generation.")
