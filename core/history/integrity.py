"""Compare rows with files to the last byte, and rebuild the history from the files alone. Where they differ, the
files are right."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, select

from core.errors import StorageError
from core.history import annotation_files, image_rows
from core.history.reconcile import DATED, ReconcileReport, read_record, reconcile
from core.history.record_codec import RECORD_SUFFIX, beside, encoded
from core.storage.database import Database
from core.storage.dialects import dialect_of
from core.storage.dialects.contract import stored_text
from core.storage.files import Files, files_of
from core.storage.image_writer import Thumbnails
from core.storage.input_images import InputImages
from core.storage.metadata import read_metadata
from core.storage.tables import image_inputs, image_labels, images, jobs

log = logging.getLogger(__name__)

REBUILD = "rebuild"  # the name of the copy that a rebuild keeps
PAGE = 500  # rows that are looked at in one transaction
_DIGEST = re.compile(r'"([0-9a-f]{64})"')


@dataclass(frozen=True)
class CheckReport:
    """What a check found. All but `missing`, `unknown` and `damaged` is put right; `changed` is reported once."""

    images: int = 0
    missing: int = 0  # rows whose file is not there
    adopted: int = 0  # files that got their row
    unknown: int = 0  # image files that nobody knows anything of
    changed: tuple[str, ...] = ()  # files that are not what was written: the row takes their new size and sum
    damaged: tuple[str, ...] = ()  # files that are no images any more
    thumbnails: int = 0  # that were made
    marks: int = 0  # files beside images that were written or removed again
    inputs: int = 0  # input images removed, as nothing refers to them


def check(database: Database, place: Files | Path) -> CheckReport:
    """Compare every row with every file and correct the rows. Raises StorageError when the database can't be written."""
    files = files_of(place)
    reconciled = reconcile(database, files, everywhere=True)
    found = _Findings(database, files)
    numbers: list[int] = []
    with database.reading() as connection:
        numbers = list(connection.scalars(select(images.c.number).order_by(images.c.number)))
        missing = len(list(connection.scalars(select(images.c.number).where(images.c.missing))))
    for start in range(0, len(numbers), PAGE):
        found.look(numbers[start : start + PAGE])
    removed = _remove_lost(files)
    return CheckReport(
        images=len(numbers),
        missing=missing,
        adopted=len(reconciled.adopted),
        unknown=reconciled.unknown,
        changed=tuple(found.changed),
        damaged=tuple(found.damaged),
        thumbnails=found.thumbnails,
        marks=found.marks + removed,
        inputs=InputImages(files).remove_others(_inputs_in_use(database)),
    )


@dataclass(frozen=True)
class RebuildReport:
    """What a rebuild found, and where the copy of the database from before is. `lost`: rows without a file, which it alone has.

    `earlier` is the copy of an earlier rebuild that has more of something and is kept, too; "" for none.
    """

    reconciled: ReconcileReport
    backup: str
    lost: int = 0
    earlier: str = ""


def rebuild(database: Database, place: Files | Path) -> RebuildReport:
    """Make every row of the history again from the files.

    The database is copied first. Rows whose image is there but carries no record of theirs get it written beside it, so that
    nothing is lost, however often this is done; files that were moved into other folders are found.
    """
    files = files_of(place)
    with database.writing() as connection:
        backup = database.back_up(connection, REBUILD)
    reconcile(database, files, everywhere=True)
    keep_records(database, files)
    with database.writing() as connection:
        lost = _remove_rows(connection)
    usual = database.backup_name(REBUILD)
    return RebuildReport(reconcile(database, files, everywhere=True), backup, lost, "" if backup == usual else usual)


def _remove_rows(connection: Connection) -> int:
    """Remove the rows that files bring back, and those without a file, whose number is returned.

    The rows of images that belong to a user by no job stay: no file tells whom they belong to.
    """
    owned = select(image_labels.c.number).where(image_labels.c.kind == image_rows.OWNER)
    unknown = images.c.job_id.is_(None) | images.c.job_id.not_in(select(jobs.c.id))
    stay = connection.execute(
        select(images.c.number, images.c.prompt, images.c.negative_prompt).where(images.c.number.in_(owned), unknown)
    ).all()
    words = dialect_of(connection)
    words.clear_words(connection)
    words.put_words(connection, [(row.number, row.prompt, row.negative_prompt) for row in stay])
    going = sorted(set(connection.scalars(select(images.c.number))) - {row.number for row in stay})
    lost = 0
    for start in range(0, len(going), image_rows.CHUNK):
        part = going[start : start + image_rows.CHUNK]
        missing = select(func.count()).select_from(images).where(images.c.missing, images.c.number.in_(part))
        lost += connection.scalars(missing).one()
        image_rows.remove(connection, part)
    return lost


def keep_records(database: Database, files: Files) -> int:
    """Write the record beside every image that does not carry it, and the marks that differ; return how many records."""
    with database.reading() as connection:
        numbers = list(connection.scalars(select(images.c.number).where(images.c.missing.is_(False))))
    written = 0
    for start in range(0, len(numbers), PAGE):
        with database.reading() as connection:
            found = connection.execute(select(images).where(images.c.number.in_(numbers[start : start + PAGE]))).all()
            data, typed = image_rows.records_of(connection, found), image_rows.typed(connection, found)
        for row, record in zip(found, typed, strict=True):
            path = files.path(row.file)
            if path is None:
                continue
            if annotation_files.read(files, row.file) != (record.marks, record.trashed_at):
                annotation_files.write(files, row.file, record.marks, record.trashed_at)
            if not _carries(files, row, path):
                files.write(beside(row.file), encoded(data[row.id]))
                written += 1
    return written


def _carries(files: Files, row: Row[Any], path: Path) -> bool:
    """Return whether a file carries the record of its row, or is another file by now, or no image."""
    found = read_record(files, row.file)
    if found is None:
        return read_metadata(path) is None
    return found[0].id == row.id or row.digest not in (None, hashlib.sha256(path.read_bytes()).hexdigest())


def _inputs_in_use(database: Database) -> set[str]:
    """Return the digests that an image (in the trash, too) or a job of any state refers to."""
    with database.reading() as connection:
        used = set(connection.scalars(select(image_inputs.c.source).where(image_inputs.c.role != image_rows.PARENT)))
        for request in connection.scalars(select(stored_text(jobs.c.request))):
            used.update(_DIGEST.findall(request))  # whatever else is in it, no input that it names is removed
    return used


class _Findings:
    """What comes together over the pages of rows."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database, self._files = database, files
        self._thumbnails = Thumbnails(files.local)
        self.changed: list[str] = []
        self.damaged: list[str] = []
        self.thumbnails = self.marks = 0

    def look(self, numbers: list[int]) -> None:
        with self._database.reading() as connection:
            found = connection.execute(select(images).where(images.c.number.in_(numbers))).all()
            records = image_rows.typed(connection, found)
        for row, record in zip(found, records, strict=True):
            if not self._files.has(row.file):
                continue
            if annotation_files.read(self._files, row.file) != (record.marks, record.trashed_at):
                annotation_files.write(self._files, row.file, record.marks, record.trashed_at)
                self.marks += 1
            self._file(row.number, row.file, row.digest)
            if not self._thumbnails.path(row.id).is_file() and row.file not in self.damaged:
                self._make(row.id, row.file)

    def _file(self, number: int, file: str, digest: str | None) -> None:
        """Compare the file's sum with what was written. A row of an earlier version has none, and gets it."""
        data = self._files.read(file)
        now = hashlib.sha256(data).hexdigest()
        if now == digest:
            return
        self._files.forget_copy(file)
        metadata = read_metadata(io.BytesIO(data))
        if metadata is None:
            self.damaged.append(file)
            return
        if digest is not None:
            self.changed.append(file)
        values = {"digest": now, "bytes": len(data), "width": metadata.size[0], "height": metadata.size[1]}
        with self._database.writing() as connection:
            connection.execute(images.update().where(images.c.number == number).values(values))
            image_id = connection.scalar(select(images.c.id).where(images.c.number == number))
        if digest is not None:
            self._thumbnails.remove(str(image_id))

    def _make(self, image_id: str, file: str) -> None:
        path = self._files.path(file)
        if path is None:  # gone meanwhile
            return
        try:
            self._thumbnails.make(image_id, path)
            self.thumbnails += 1
        except StorageError as error:  # a header without its image
            log.warning("%s", error)
            self.damaged.append(file)


def _remove_lost(files: Files) -> int:
    """Remove what stood beside images that are gone for good: a crash between the two left it."""
    removed = 0
    for folder in filter(DATED.fullmatch, files.folders()):
        names = {entry.name for entry in files.entries(folder)}
        for suffix in (annotation_files.SUFFIX, RECORD_SUFFIX):
            for name in names:
                if name.endswith(suffix) and name.removesuffix(suffix) not in names:
                    files.remove(name)
                    removed += 1
    return removed
