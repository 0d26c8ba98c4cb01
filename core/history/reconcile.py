"""Correct at start what a crash left behind: one walk over the folders of dates, one query.

An image without its row gets it back from its record, which is beside it or in it; a row without its file is marked as missing,
never deleted (the disk may only be unplugged). A file that was moved is found by its id, or by its bytes. Safe while another
process adds images: rows are read before the files, and a row added meanwhile is left as it is.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from core.errors import StorageError
from core.history import annotation_files, image_import
from core.history.image_rows import put, set_marks, set_trashed
from core.history.record_codec import (
    NOT_A_RECORD,
    beside,
    check_bounds,
    encoded,
    image_record,
    image_row,
    with_new_id,
)
from core.storage.database import Database, timestamp
from core.storage.files import Entry, Files, LocalFiles, files_of, is_temporary
from core.storage.image_containers import FORMATS
from core.storage.image_writer import FOLDER, StoredFile
from core.storage.input_images import FOLDER as INPUTS
from core.storage.metadata import read_metadata
from core.storage.object_store import COPIES
from core.storage.tables import images
from core.types import ImageRecord

log = logging.getLogger(__name__)

TEMPORARY_SECONDS = 300  # a temporary file older than this belongs to no one: writing takes well under a second
PORTION = 200  # images that get their rows in one transaction, some tenths of a second
OWN_FOLDERS = (  # in the output folder: what is kept there is not in the history, or not any more
    FOLDER, COPIES, INPUTS, "sheets", "pending", "states", "models", "logs", "access", "presets", "cache",
)  # fmt: skip
DATED = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class ReconcileReport:
    """What reconciling found and did. `unknown` counts image files that have neither a row nor a record of ours."""

    temporary_removed: int = 0
    adopted: tuple[str, ...] = ()  # ids of images that got a row, or whose row found its moved file
    missing: int = 0  # rows newly marked
    returned: int = 0  # rows whose file is back
    unknown: int = 0
    seconds: float = 0.0


def reconcile(database: Database, place: Files | Path, everywhere: bool = False) -> ReconcileReport:
    """Make files and rows agree. Raises StorageError when the database can't be written, or the files can't be listed.

    `everywhere`: images that were moved out of the folders of dates are looked for, too, in all folders; copies there are not ours.
    """
    start = time.monotonic()
    store = files_of(place)
    with database.reading() as connection:
        rows = {row.file: row for row in connection.execute(select(images.c.id, images.c.file, images.c.missing))}
    removed, files = _walk(store)
    files |= {file for file in rows if not _is_dated(file) and store.has(file)}
    gone = [row.id for file, row in rows.items() if file not in files and not row.missing]
    back = [row.id for file, row in rows.items() if file in files and row.missing]
    orphans = files - rows.keys()
    if gone or back:
        with database.writing() as connection:
            _mark(connection, gone, missing=True)
            _mark(connection, back, missing=False)
    adopted, unknown = _take_in(database, store, sorted(orphans))
    if everywhere:
        moved = sorted(set(_elsewhere(store)) - rows.keys())
        adopted += _take_in(database, store, moved, copies=False)[0]
    missing = len(set(gone).difference(adopted))
    report = ReconcileReport(removed, tuple(adopted), missing, len(back), unknown, time.monotonic() - start)
    log.info("%s", report)
    return report


def _walk(files: Files) -> tuple[int, set[str]]:
    """Remove old temporary files; return how many, and every image below the folders of dates, as rows name them."""
    removed = 0
    found: set[str] = set()
    for folder in files.folders():
        dated = DATED.fullmatch(folder) is not None
        for entry in files.entries(folder):
            if is_temporary(entry.name.rpartition("/")[2]):
                removed += _remove_old(files, entry)
            elif dated and entry.name.lower().endswith(tuple(FORMATS)):
                found.add(entry.name)
    for own in (LocalFiles(files.local / FOLDER), LocalFiles(files.local / COPIES)):
        for entry in (entry for folder in own.folders() for entry in own.entries(folder)):
            removed += is_temporary(entry.name.rpartition("/")[2]) and _remove_old(own, entry)
    return removed, found


def _is_dated(file: str) -> bool:
    folder, _, name = file.rpartition("/")
    return name != "" and DATED.fullmatch(folder) is not None


def _elsewhere(files: Files, folder: str = "") -> Iterator[str]:
    """Yield every image in folders that are neither of dates nor the studio's own, at any depth."""
    for below in files.folders(folder):
        if below in OWN_FOLDERS or below.startswith("."):
            continue
        if not DATED.fullmatch(below):
            yield from (entry.name for entry in files.entries(below) if entry.name.lower().endswith(tuple(FORMATS)))
        yield from _elsewhere(files, below)


def _remove_old(files: Files, entry: Entry) -> bool:
    if entry.age() < TEMPORARY_SECONDS:
        return False
    try:
        files.remove(entry.name)
    except StorageError as error:  # not ours to remove
        log.warning("%s is not removed: %s", files.shown(entry.name), error)
        return False
    return True


@dataclass(frozen=True)
class _Found:
    """An image file without a row. `record` and `data` are what it tells, typed and as it is; None when that is nothing of ours."""

    file: str
    digest: str
    record: ImageRecord | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def _take_in(database: Database, files: Files, orphans: list[str], copies: bool = True) -> tuple[list[str], int]:
    """Give files their rows; the ids, and how many files are not ours. A portion is whole or not there at all, and others
    write between two of them: a long history that is made again locks nobody out. `copies`: they become images of their own."""
    adopted: list[str] = []
    unknown = 0
    with database.reading() as connection:
        seeking = connection.scalar(select(images.c.id).where(images.c.missing).limit(1)) is not None
    for start in range(0, len(orphans), PORTION):
        portion = orphans[start : start + PORTION]
        found = [one for file in portion if (one := _found(files, file, seeking)) is not None]
        unknown += len(portion) - len(found)
        if not found:
            continue
        with database.writing() as connection:
            for one in found:
                if (row := _moved(connection, files, one)) is not None:
                    adopted.append(row)
                elif one.record is None:
                    unknown += 1
                elif (image_id := _adopt(connection, files, one.record, one.data, one.digest, copies)) is not None:
                    adopted.append(image_id)
    return adopted, unknown


def _found(files: Files, file: str, seeking: bool) -> _Found | None:
    """Return what a file tells; None when it is nothing of ours, though `seeking` rows without a file its bytes may tell."""
    stored, path = read_record(files, file), files.path(file)
    if path is None or (stored is None and not seeking):
        return None
    try:
        return _Found(file, sha256(path.read_bytes()).hexdigest(), *(stored or ()))
    except OSError as error:
        log.warning("%s cannot be read: %s", file, error)
        return None


def read_record(files: Files, file: str) -> tuple[ImageRecord, Mapping[str, Any]] | None:
    """Return the record of an image file, typed and as it is: that beside it, else that in it; None without one of ours."""
    path = files.path(file)
    metadata = read_metadata(path) if path is not None else None
    if path is None or metadata is None:
        return None
    for data in (image_import.read_beside(files, file), metadata.record):
        try:
            if data is not None:
                record = image_record(data, StoredFile(file, metadata.format, metadata.size, path.stat().st_size))
                image_row(record)
                check_bounds(record)
                return record, data
        except (*NOT_A_RECORD, OSError) as error:
            log.warning("a record of %s cannot be used: %s: %s", file, type(error).__name__, error)
    return None


def _moved(connection: Connection, files: Files, found: _Found) -> str | None:
    """Let the row of a file that is gone follow a file with the same bytes; return its id, None when there is no such row."""
    same = select(images.c.id, images.c.file).where(images.c.digest == found.digest, images.c.missing)
    rows = [row for row in connection.execute(same) if not files.has(row.file)]
    record_id = found.record.id if found.record is not None else None
    row = min(rows, key=lambda row: row.id != record_id, default=None)  # several after a copy was made
    if row is None:
        return None
    connection.execute(update(images).where(images.c.id == row.id).values(file=found.file, missing=False))
    return str(row.id)


def _adopt(
    connection: Connection, files: Files, record: ImageRecord, data: Mapping[str, Any], digest: str, copies: bool
) -> str | None:
    """Give an image its row. Where its id is taken, the file was moved (the row follows it) or copied (a new id)."""
    owner = connection.execute(select(images.c.file).where(images.c.id == record.id)).one_or_none()
    if owner is not None and owner.file == record.file:  # its writer was faster
        return None
    if owner is not None and not files.has(owner.file):
        connection.execute(update(images).where(images.c.id == record.id).values(file=record.file, missing=False))
        return record.id
    if owner is not None and not copies:
        return None
    if owner is not None:
        data = with_new_id(data, record.created_at)
        record = replace(record, id=data["id"])
        files.write(beside(record.file), encoded(data))  # so that it is the same image the next time
    number = put(connection, record, data, digest)
    annotations, trashed_at = annotation_files.read(files, record.file)
    set_marks(connection, {number: annotations})
    set_trashed(connection, [number], timestamp(trashed_at) if trashed_at else None)
    return record.id


def _mark(connection: Connection, ids: list[str], missing: bool) -> None:
    for start in range(0, len(ids), 500):  # fewer than the variables that SQLite takes in one statement
        connection.execute(update(images).where(images.c.id.in_(ids[start : start + 500])).values(missing=missing))
