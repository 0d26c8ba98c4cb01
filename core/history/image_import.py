"""Import image files into the history: the file is stored byte for byte under a new name.

An image of this studio keeps its record, its time and its id (a new id if that is taken). From any other image the
parameters are read,
and the record made of them is stored beside the copy as <image>.record.json, so that it outlives the database. What
the file does not
tell is null in the record.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import select

from core.config.options import FIELDS
from core.errors import ImageTooLargeError, ImportFileError
from core.history import image_rows, reading_process
from core.history.hidden_collections import EVERYTHING, Scope
from core.history.record_codec import (
    FORMAT,
    LONGEST_MODEL,
    NOT_A_RECORD,
    VERSION,
    beside,
    check_bounds,
    encoded,
    image_record,
    image_row,
    new_id,
    requested,
    with_new_id,
)
from core.i18n import localize
from core.storage.database import Database, timestamp
from core.storage.files import Files
from core.storage.image_containers import decoding
from core.storage.image_writer import EXTENSIONS, StoredFile
from core.storage.infotext import PROGRAM
from core.storage.metadata import FileMetadata, read_metadata
from core.storage.tables import images
from core.types import CFG_OFF, FoundParameters, GenerationRequest, ImageRecord

MAX_FILE = 256_000_000  # bytes


def import_image(
    database: Database, files: Files, data: bytes, name: str, made: datetime, scope: Scope = EVERYTHING
) -> tuple[ImageRecord, bool]:
    """Import the image in `data`; return its record and whether it is new. `name` is used in errors only.

    The image belongs to the viewer of `scope`. A file that only somebody else has is new.

    Raises ImportFileError when it can't be taken in, or StorageError.
    """
    metadata = _checked(data, name)
    digest = sha256(data).hexdigest()
    with database.reading() as connection:
        same = connection.execute(select(images).where(images.c.digest == digest)).all()
        seen = scope.visible(connection, [row.number for row in same])
        if own_row := next((row for row in same if row.number in seen), None):
            return image_rows.typed(connection, [own_row])[0], False
    own = _own(metadata, len(data))
    record = own if own is not None else _foreign(data, metadata, made)
    in_file = own is not None
    with database.reading() as connection:
        if connection.scalar(select(images.c.number).where(images.c.id == record["id"])) is not None:
            record, in_file = with_new_id(record, datetime.fromisoformat(record["created_at"])), False
    return _kept(database, files, data, metadata, record, not in_file, digest, scope.viewer.owner), True


def read_beside(files: Files, image: str) -> Mapping[str, Any] | None:
    """Return the record beside an image; None when there is none, or none that can be read."""
    try:
        data = json.loads(files.read(beside(image), MAX_FILE).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _kept(
    database: Database, files: Files, data: bytes, metadata: FileMetadata, record: Mapping[str, Any], beside_it: bool, digest: str,
    owner: str,
) -> ImageRecord:  # fmt: skip
    """Write record, image and rows in this order; what was written is taken back when the rest fails."""
    created_at = datetime.fromisoformat(record["created_at"])
    local = created_at.astimezone()
    seed = image_record(record, StoredFile("", metadata.format, metadata.size, len(data))).request.seed
    stem = f"{local:%Y%m%d-%H%M%S}-{local.microsecond // 1000:03}_{seed}_{record['id'][-8:]}"
    file = f"{local:%Y-%m-%d}/{stem}.{EXTENSIONS[metadata.format]}"
    typed = image_record(record, StoredFile(file, metadata.format, metadata.size, len(data), digest))
    try:
        if beside_it:
            files.write(beside(file), encoded(record))
        files.write(file, data)
        with database.writing() as connection:
            image_rows.put(connection, typed, record, digest, owner)
    except BaseException:
        files.remove(file)
        files.remove(beside(file))
        raise
    return typed


def _checked(data: bytes, name: str) -> FileMetadata:
    """Return what the file says if it is a whole image of a supported kind. Raises ImportFileError."""
    if len(data) > MAX_FILE:
        raise ImportFileError(file=name, detail=f"{len(data) // 1_000_000} MB > {MAX_FILE // 1_000_000} MB")
    metadata = read_metadata(io.BytesIO(data))
    if metadata is None or metadata.format not in EXTENSIONS:
        raise ImportFileError(file=name, detail=localize("history.image_import.not_such_an_image"))
    try:
        with decoding(io.BytesIO(data), name) as image:
            image.load()
    except ImageTooLargeError as error:
        detail = localize(
            "history.image_import.too_large", value=error.values["value"], allowed=error.values["allowed"]
        )
        raise ImportFileError(file=name, detail=detail) from error
    except Exception as error:  # Pillow raises many kinds on damaged files
        detail = localize("history.image_import.it_is_damaged", error=error)
        raise ImportFileError(file=name, detail=detail) from error
    return metadata


def _own(metadata: FileMetadata, length: int) -> Mapping[str, Any] | None:
    if metadata.record is None:
        return None
    try:
        record = image_record(metadata.record, StoredFile("x", metadata.format, metadata.size, length))
        image_row(record)
        check_bounds(record)
    except NOT_A_RECORD:
        return None
    return metadata.record


def _foreign(data: bytes, metadata: FileMetadata, made: datetime) -> dict[str, Any]:
    """Return a record of ours that says what the file says; what has no equivalent is kept in it, too."""
    found = reading_process.shared.read(data) or FoundParameters("", {}, {})
    asked = requested(_request(found, metadata.size)) | _unknown(found)
    return {
        "format": FORMAT,
        "version": VERSION,
        "program": PROGRAM,
        "id": new_id(made),
        "job_id": None,
        "created_at": timestamp(made),
        "requested": asked,
        "resolved": {"taken_in_from": found.program or "?", **found.unused},
        "decisions": [],
        "size": {"rendered": list(metadata.size), "delivered": list(metadata.size)},
        "timings": {},
        "peak_memory_bytes": None,
    }


def _request(found: FoundParameters, size: tuple[int, int]) -> GenerationRequest:
    """Return what the file says as a request; the size is that of the image itself, what is unknown has a placeholder."""
    facts = found.facts
    return GenerationRequest(
        prompt=facts.prompt or "",
        negative_prompt=facts.negative_prompt or "",
        model=_printable(facts.model or ""),
        width=size[0],
        height=size[1],
        num_inference_steps=facts.steps or 0,
        cfg_scale=max(CFG_OFF, facts.cfg_scale or CFG_OFF),
        seed=facts.seed or 0,
        options={key: value for key, value in found.values.items() if key not in FIELDS},
    )


def _unknown(found: FoundParameters) -> dict[str, None]:
    """Return the fields of the request that the file does not tell, as null."""
    facts = found.facts
    known = {
        "prompt": facts.prompt,
        "negative_prompt": facts.negative_prompt,
        "model": facts.model,
        "seed": facts.seed,
        "num_inference_steps": facts.steps,
        "cfg_scale": facts.cfg_scale,
    }
    return {name: None for name, value in known.items() if value is None}


def _printable(name: str) -> str:
    return "".join(mark if mark.isprintable() else " " for mark in name)[:LONGEST_MODEL]
