"""Store images: each file and its row are written together or not at all.

Adding writes the file (whole and durable), then the row; a file whose row fails is removed. Deleting removes the row,
then thumbnail
and file. A crash between the two leaves an image without a row, which `reconcile` adopts: no image is lost, and no row
points at an image
that was never written.

Images whose record can't be written now, as the database is away, are kept in a folder until it is back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row

from core.errors import NotFoundError, SharedStorageError, StorageError
from core.history import image_rows, search, statistics
from core.history.bulk_actions import BulkActions
from core.history.hidden_collections import EVERYTHING, Scope
from core.history.image_import import import_image
from core.history.reconcile import ReconcileReport, reconcile
from core.history.record_codec import beside, encoded, generated_record, image_record, in_sidecar, is_id, new_id
from core.storage.database import Database
from core.storage.files import Files, files_of, remove, write_atomically
from core.storage.image_writer import ImageWriter, StoredFile, Thumbnails, metadata_wanted
from core.storage.metadata import fits
from core.types import (
    AnnotationChange,
    GeneratedImage,
    GenerationRequest,
    HistoryCounts,
    HistoryPage,
    HistoryQuery,
    HistoryStatistics,
    ImageRecord,
    ImageSelection,
    Undo,
)

log = logging.getLogger(__name__)


class History:
    """The images among some files, or below one folder. For any number of threads and processes."""

    def __init__(self, database: Database, place: Files | Path, scope: Callable[[], Scope] = lambda: EVERYTHING) -> None:
        """Open the history; `scope` is asked at each call which images may be seen and changed."""
        self._database = database
        self._files = files_of(place)
        self._scope = scope
        self._images = ImageWriter(self._files)
        self._thumbnails = Thumbnails(self._files.local)
        self._bulk = BulkActions(database, self._files, self._thumbnails, scope)

    def seen_by(self, scope: Callable[[], Scope]) -> History:
        """Return the same history as far as `scope` shows it."""
        return History(self._database, self._files, scope)

    def add(self, image: GeneratedImage, job_id: str | None) -> ImageRecord:
        """Store a finished image: its file, then its row. Both are durable when this returns.

        Raises StorageError (DiskFullError, NotWritableError) and leaves neither then.
        """
        pending = self.prepare(image, job_id)
        try:
            return self.commit(pending)
        except StorageError as error:
            if not isinstance(error, SharedStorageError):  # a store that is away would only be waited for again
                self.withdraw(pending)
            raise

    def withdraw(self, pending: PendingImage) -> None:
        """Remove the file of a prepared image whose row could not be written."""
        with suppress(StorageError):  # the first error is the one to raise
            self._remove(pending)

    def prepare(self, image: GeneratedImage, job_id: str | None) -> PendingImage:
        """Return a finished image with its id, its record and its encoded file; nothing is written."""
        created_at = datetime.now(UTC)
        image_id = new_id(created_at)
        record = generated_record(image, image_id, job_id, created_at)
        format, in_file = image.request.options.get("output.format", "png"), metadata_wanted(image)
        if in_file and not fits(format, record):
            record, in_file = in_sidecar(record), False
        stored, data = self._images.encode(image, image_id, created_at, record)
        return PendingImage(stored, data, record, record_beside=not in_file)

    def commit(self, pending: PendingImage, late: bool = False) -> ImageRecord:
        """Write file and row of a prepared image. May be called again after an error, whatever was written before it.

        `late`: another worker may have made this image of the job meanwhile; then it is not stored twice, and the record
        of the other one is returned.
        """
        try:
            record = image_record(pending.record, pending.stored)
            self._files.write(pending.stored.file, pending.data)
            if pending.record_beside:
                self._files.write(beside(pending.stored.file), encoded(pending.record))
            with self._database.writing(part=pending.job_id or pending.id) as connection:
                other = image_rows.of_job(connection, pending.job_id, pending.place) if late else None
                if other is None or other == pending.id:
                    image_rows.put(connection, record, pending.record, pending.stored.digest)
                    return record
        except StorageError:
            raise
        except Exception as error:
            raise StorageError(path=self._database.name, detail=getattr(error, "orig", error)) from error
        self._remove(pending)
        return self.get(other)

    def _remove(self, pending: PendingImage) -> None:
        self._files.remove(pending.stored.file)
        if pending.record_beside:
            self._files.remove(beside(pending.stored.file))

    def places_of(self, job_id: str) -> frozenset[int]:
        """Return which of its images, from 1, this job has made."""
        with self._database.reading() as connection:
            return statistics.places_of(connection, job_id)

    def seconds_of_past(self, request: GenerationRequest) -> float | None:
        """Return what images like those of `request` took on this machine; None before the first."""
        with self._database.reading() as connection:
            return statistics.seconds_like(connection, request)

    def import_image(self, data: bytes, name: str, made: datetime | None = None) -> tuple[ImageRecord, bool]:
        """Import an image file; return its record and whether it is new. Raises ImportFileError or StorageError."""
        return import_image(self._database, self._files, data, name, made or datetime.now(UTC), self._scope())

    def search(self, query: HistoryQuery) -> HistoryPage:
        """Return one page. Raises OptionError for a sort, a limit, a text or a cursor that can't be used."""
        with self._database.reading() as connection:
            found, cursor, total = search.find(connection, query, self._scope())
            return HistoryPage(image_rows.typed(connection, found), cursor, total)

    def get(self, image_id: str) -> ImageRecord:
        """Return one record. Raises NotFoundError."""
        with self._database.reading() as connection:
            return image_rows.typed(connection, [self._find(connection, image_id)])[0]

    def file(self, image_id: str) -> Path:
        """Return the image's file, or a copy of it. Raises NotFoundError when the row or the file is gone, or lies elsewhere."""
        with self._database.reading() as connection:
            row = self._find(connection, image_id)
        path = self._files.path(row.file)
        if path is None:
            raise NotFoundError(kind="image file", value=image_id)
        return path

    def thumbnail(self, image_id: str) -> Path:
        """Return a WebP of at most 256 px, made now unless it is there; that needs no look into the database where
        every image may be seen.

        Raises NotFoundError, or StorageError when it can't be made.
        """
        if is_id(image_id) and (path := self._thumbnails.path(image_id)).is_file():
            if not self._scope().unlimited:
                self.file(image_id)
            return path
        return self._thumbnails.make(image_id, self.file(image_id))

    def may_be_cached(self, image_id: str) -> bool:
        """Return False for an image of a hidden collection: it must not be shown by a browser after it is locked."""
        scope = self._scope()
        if not scope.hidden:
            return True
        with self._database.reading() as connection:
            return not scope.is_hidden(connection, image_rows.find(connection, image_id).number)

    def _find(self, connection: Connection, image_id: str) -> Row[Any]:
        """Return the row of an image that may be seen. Raises NotFoundError."""
        row = image_rows.find(connection, image_id)
        if not self._scope().visible(connection, [row.number]):
            raise NotFoundError(kind="image", value=image_id)
        return row

    def change(self, selected: ImageSelection, change: AnnotationChange) -> Undo:
        """Change the annotations of these images; return the changes that undo it.

        Raises NotFoundError, OptionError or StorageError.
        """
        return self._bulk.change(selected, change)

    def trash(self, selected: ImageSelection) -> tuple[str, ...]:
        """Move these images to the trash: out of every search but the trash's own; return the ids of those that moved.

        Raises NotFoundError.
        """
        return self._bulk.set_trashed(selected, datetime.now(UTC))

    def restore(self, selected: ImageSelection) -> tuple[str, ...]:
        """Restore these images from the trash with their annotations; return the ids of those that moved.

        Raises NotFoundError.
        """
        return self._bulk.set_trashed(selected, None)

    def empty_trash(self) -> int:
        """Delete all that is in the trash for good; how many images that was."""
        return self._bulk.empty_trash()

    def delete(self, image_id: str) -> None:
        """Delete the row for good, then thumbnail, marks and file; a file that is gone already is fine.

        Raises NotFoundError, or StorageError when the file can't be removed (it is taken in again at the next start).
        """
        self._bulk.delete(image_id)

    def neighbours(self, query: HistoryQuery, image_id: str) -> tuple[str | None, str | None]:
        """Return the ids before and after this image in the query's order; None at an end. Raises NotFoundError."""
        with self._database.reading() as connection:
            return search.neighbours(connection, query, self._find(connection, image_id), self._scope())

    def ids(self, query: HistoryQuery) -> tuple[str, ...]:
        """Return the ids of all that match, in the query's order."""
        with self._database.reading() as connection:
            return tuple(search.ids(connection, query, self._scope()))

    def counts(self) -> HistoryCounts:
        """Return how many images there are in all, of each kind, and with each tag and collection."""
        with self._database.reading() as connection:
            return statistics.counts(connection, self._scope())

    def statistics(self, query: HistoryQuery, zone: tzinfo) -> HistoryStatistics:
        """Return how many images the query finds by day (of `zone`), model, sampler and size. Raises OptionError."""
        with self._database.reading() as connection:
            return statistics.of(connection, query, zone, self._scope())

    def labels(self, kind: str) -> tuple[str, ...]:
        """Return the names of all tags ("tag") or collections ("collection")."""
        with self._database.reading() as connection:
            return tuple(image_rows.labels(connection, kind, self._scope().conditions()))

    def option_members(self, key: str) -> set[str]:
        """Return the members of a list option in all images that are not in the trash, each up to its first colon."""
        with self._database.reading() as connection:
            return image_rows.option_members(connection, key, self._scope().conditions())

    def reconcile(self) -> ReconcileReport:
        """Put right what a crash left behind; to be called at start."""
        return reconcile(self._database, self._files)


FOLDER = "pending"  # in the output folder



@dataclass(frozen=True)
class PendingImage:
    """A finished image that is not in the history yet: its encoded file and its record."""

    stored: StoredFile
    data: bytes
    record: Mapping[str, Any]
    record_beside: bool = False  # in a file beside the image, as it is not in the image itself

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def job_id(self) -> str | None:
        job_id: str | None = self.record["job_id"]
        return job_id

    @property
    def place(self) -> int | None:
        """Return the image's index in its job, from 1."""
        place: int | None = self.record["place"]
        return place


class PendingImages:
    """Files in a folder of this machine, two for each image; they survive a restart."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER

    def put(self, image: PendingImage) -> None:
        """Write an image durably. Raises DiskFullError, NotWritableError or StorageError."""
        write_atomically(self._folder / f"{image.id}.image", image.data)
        facts = {"stored": vars(image.stored), "record": dict(image.record), "record_beside": image.record_beside}
        write_atomically(
            self._folder / f"{image.id}.json", json.dumps(facts).encode()
        )  # last: it makes the image count

    def all(self, job_id: str | None = None) -> list[PendingImage]:
        """Return the images, of one job or of all, oldest first. Unreadable ones are left out and logged."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                facts = json.loads(path.read_text(encoding="utf-8"))
                if job_id is not None and facts["record"]["job_id"] != job_id:
                    continue
                stored = StoredFile(**{**facts["stored"], "size": tuple(facts["stored"]["size"])})
                data = path.with_suffix(".image").read_bytes()
                found.append(PendingImage(stored, data, facts["record"], bool(facts["record_beside"])))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.error("%s can't be read: %s", path, error)
        return found

    def places_of(self, job_id: str) -> frozenset[int]:
        """Return the indices of a job's pending images, from 1."""
        return frozenset(image.place for image in self.all(job_id) if image.place is not None)

    def remove(self, image_id: str) -> None:
        """Delete an image that is in the history now."""
        for suffix in ("json", "image"):
            remove(self._folder / f"{image_id}.{suffix}")
