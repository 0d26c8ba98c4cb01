"""The history: pictures on disk and their rows, together or not at all.

The order of writing is what makes it so. Adding: the file (whole and durable), then the row; a file whose row fails is
removed. Deleting: the row, then thumbnail and file. Between the two, a crash leaves a picture without a row, which
`sweep` takes in again: nothing that was made is lost, and no row ever points at a picture that was never written.
What this module does not know: the queue, pages, where the directory is configured.
"""

from __future__ import annotations

import logging
import statistics
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, select
from sqlalchemy.dialects.sqlite import insert

from core.errors import NotFoundError, StorageError
from core.storage import search
from core.storage.database import Database
from core.storage.files import remove
from core.storage.images import ImageFiles, StoredFile
from core.storage.infotext import well_formed
from core.storage.records import image_record, image_row, is_id, new_id, picture_record
from core.storage.sweep import SweepReport, sweep
from core.storage.tables import image_records, images
from core.storage.thumbnails import Thumbnails
from core.types import GenerationRequest, HistoryPage, HistoryQuery, ImageRecord, Picture

LIKE_PICTURES = 15  # this many of the latest tell how long the next one takes

log = logging.getLogger(__name__)


class History:
    """The pictures below one output directory. For any number of threads and processes."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory
        self._files = ImageFiles(directory)
        self._thumbnails = Thumbnails(directory)

    def add(self, picture: Picture, job_id: str | None) -> ImageRecord:
        """Store a finished picture: its file, then its row. Both are durable when this returns.

        Raises StorageError (DiskFullError, NotWritableError) and leaves neither then.
        """
        created_at = datetime.now(UTC)
        image_id = new_id(created_at)
        data = picture_record(picture, image_id, job_id, created_at)
        stored = self._files.write(picture, image_id, created_at, data)
        try:
            record = image_record(data, stored)
            with self._database.writing() as connection:
                _insert(connection, record, data)
        except Exception as error:
            with suppress(StorageError):  # the first error is the one to tell
                remove(self._directory / stored.file)
            if isinstance(error, StorageError):
                raise
            raise StorageError(path=self._database.path, detail=error) from error
        return record

    def seeds_of(self, job_id: str) -> frozenset[int]:
        """The seeds of the pictures that this job has made: each has one of its own."""
        with self._database.reading() as connection:
            return frozenset(connection.scalars(select(images.c.seed).where(images.c.job_id == job_id)))

    def seconds_of_past(self, request: GenerationRequest) -> float | None:
        """What pictures like those of `request` took on this machine: the median of the latest; None before the first.

        Alike are those of the same model, size, steps and options, with guidance or without.
        """
        like = (
            images.c.width == request.width,
            images.c.height == request.height,
            images.c.model == well_formed(request.model),
            images.c.num_inference_steps == request.num_inference_steps,
            (images.c.guidance_scale > 0) == (request.guidance_scale > 0),
        )
        rows = select(images.c.seconds, image_records.c.record).join(image_records).where(*like)
        with self._database.reading() as connection:
            found = connection.execute(rows.order_by(images.c.created_at.desc()).limit(LIKE_PICTURES)).all()
        same = [row.seconds for row in found if row.record["requested"]["options"] == dict(request.options)]
        return statistics.median(same) if same else None

    def search(self, query: HistoryQuery) -> HistoryPage:
        """One page. Raises OptionError for a sort, a limit, a text or a cursor that can't be used."""
        with self._database.reading() as connection:
            rows, cursor, total = search.find(connection, query)
            data = _data(connection, [row.id for row in rows])
        return HistoryPage(tuple(image_record(data[row.id], _stored(row), row.missing) for row in rows), cursor, total)

    def get(self, image_id: str) -> ImageRecord:
        """One record. Raises NotFoundError."""
        with self._database.reading() as connection:
            row = _row(connection, image_id)
            return image_record(_data(connection, [row.id])[row.id], _stored(row), row.missing)

    def file(self, image_id: str) -> Path:
        """The picture's file. Raises NotFoundError when the row or the file is gone, or lies outside the directory."""
        with self._database.reading() as connection:
            row = _row(connection, image_id)
        path = self._files.path(row.file)
        if path is None or not path.is_file():
            raise NotFoundError(kind="picture file", came=image_id)
        return path

    def thumbnail(self, image_id: str) -> Path:
        """A WebP of at most 256 px, made now unless it is there.

        Raises NotFoundError, or StorageError when it can't be made.
        """
        with self._database.reading() as connection:
            _row(connection, image_id)
        path = self._thumbnails.path(image_id)
        return path if path.is_file() else self._thumbnails.make(image_id, self.file(image_id))

    def delete(self, image_id: str) -> None:
        """Delete the row, then thumbnail and file; a file that is gone already is fine.

        Raises NotFoundError, or StorageError when the file can't be removed (it is taken in again at the next start).
        """
        with self._database.writing() as connection:
            row = _row(connection, image_id)
            connection.execute(delete(images).where(images.c.id == image_id))  # its record goes with it
        self._thumbnails.remove(image_id)
        path = self._files.path(row.file)
        if path is not None:
            remove(path)

    def sweep(self) -> SweepReport:
        """Put right what a crash left behind; to be called at start."""
        return sweep(self._database, self._directory)


def _insert(connection: Connection, record: ImageRecord, data: dict[str, Any]) -> None:
    """Write both rows, over those that another process's sweep may have made from the file a moment ago."""
    row = image_row(record)
    connection.execute(insert(images).values(row).on_conflict_do_update(index_elements=["id"], set_=row))
    kept = {"image_id": record.id, "record": data}
    connection.execute(insert(image_records).values(kept).on_conflict_do_update(index_elements=["image_id"], set_=kept))


def _row(connection: Connection, image_id: str) -> Row[Any]:
    row = connection.execute(select(images).where(images.c.id == image_id)).one_or_none() if is_id(image_id) else None
    if row is None:
        raise NotFoundError(kind="picture", came=image_id)
    return row


def _data(connection: Connection, ids: list[str]) -> dict[str, dict[str, Any]]:
    """The JSON records by id."""
    rows = connection.execute(select(image_records).where(image_records.c.image_id.in_(ids)))
    return {row.image_id: row.record for row in rows}


def _stored(row: Row[Any]) -> StoredFile:
    return StoredFile(row.file, row.format, (row.width, row.height), row.bytes)
