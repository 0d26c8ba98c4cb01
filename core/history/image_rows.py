"""Read and write all rows of an image: searched columns, words, options, record, annotations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Text, cast, delete, insert, select, text

from core.errors import NotFoundError
from core.history.record_codec import image_record, image_row, is_id
from core.storage.database import moment
from core.storage.dialects import dialect_of, insert_if_new, upsert
from core.storage.image_writer import StoredFile
from core.storage.infotext import well_formed
from core.storage.tables import image_inputs, image_labels, image_records, images, jobs, option_sets
from core.types import USER_CLIENT, Annotations, GenerationRequest, ImageRecord

TAG, COLLECTION = "tag", "collection"
PROGRAM = "program"  # the kind of label that names which program made an imported image
OWNER = "owner"  # the kind of label that names the client of the user whom an image belongs to
LONGEST_NAME = 200  # characters of a label
PARENT = "parent"  # in the place of a role: the image of the history that "image" is
Conditions = tuple[Sequence[str], Mapping[str, Any]]  # SQL conditions and their values
CHUNK = 500  # fewer than the variables that SQLite takes in one statement


def put(
    connection: Connection, record: ImageRecord, data: Mapping[str, Any], digest: str | None = None, owner: str = ""
) -> int:
    """Write all rows of an image, over those that another process may have made from its file; its number.

    The image belongs to `owner` (the client of a user), else to the user whose job made it.
    """
    row = {**image_row(record), "option_set": _option_set(connection, record.request.options)}
    if digest is not None:
        row["digest"] = digest
    upsert(connection, images, row, "id")
    upsert(connection, image_records, {"image_id": record.id, "record": dict(data)}, "image_id")
    number = int(connection.execute(select(images.c.number).where(images.c.id == record.id)).scalar_one())
    wording = dialect_of(connection)
    wording.remove_words(connection, [number])
    wording.put_words(connection, [(number, row["prompt"], row["negative_prompt"])])
    _put_inputs(connection, number, record.request)
    _put_program(connection, number, record)
    _put_owner(connection, number, record, owner)
    return number


def of_job(connection: Connection, job_id: str | None, place: int | None) -> str | None:
    """Return the id of the image with index `place` (from 1) of a job; None if there is none."""
    if job_id is None or place is None:
        return None
    wanted = select(images.c.id).where(images.c.job_id == job_id, images.c.place == place).limit(1)
    found: str | None = connection.scalar(wanted)
    return found


def remove(connection: Connection, numbers: Sequence[int]) -> None:
    """Remove all rows of these images, at most CHUNK."""
    dialect_of(connection).remove_words(connection, numbers)
    connection.execute(delete(images).where(images.c.number.in_(numbers)))  # records and labels go with them


def find(connection: Connection, image_id: str) -> Row[Any]:
    """Return the row of `images`. Raises NotFoundError."""
    row = connection.execute(select(images).where(images.c.id == image_id)).one_or_none() if is_id(image_id) else None
    if row is None:
        raise NotFoundError(kind="image", value=image_id)
    return row


def typed(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[ImageRecord, ...]:
    """Return the records of rows of `images`, in their order."""
    data = _data(connection, [row.id for row in rows])
    return tuple(
        replace(
            image_record(data[row.id], StoredFile(row.file, row.format, (row.width, row.height), row.bytes), row.missing),
            marks=marks,
            trashed_at=moment(row.trashed_at),
        )
        for row, marks in zip(rows, marks_of(connection, rows), strict=True)
    )  # fmt: skip


def listed(connection: Connection, ids: Sequence[str]) -> list[Row[Any]]:
    """Return the rows of `images` of those that are there, in any order; `ids` are at most CHUNK."""
    return list(connection.execute(select(images).where(images.c.id.in_(ids))))


def marks_of(connection: Connection, rows: Sequence[Row[Any]]) -> list[Annotations]:
    """Return the annotations of these rows, in their order."""
    labels = _labels(connection, [row.number for row in rows])
    return [
        Annotations(
            rating=row.rating,
            favourite=row.favourite,
            note=row.note,
            tags=tuple(labels.get((row.number, TAG), ())),
            collections=tuple(labels.get((row.number, COLLECTION), ())),
        )
        for row in rows
    ]


def set_marks(connection: Connection, marked: Mapping[int, Annotations]) -> None:
    """Write rating, favourite, note, tags and collections, by number, in the place of those that were."""
    if not marked:
        return
    values = [
        {"at": number, "rating": marks.rating, "favourite": marks.favourite, "note": marks.note}
        for number, marks in marked.items()
    ]
    connection.execute(
        text("UPDATE images SET rating = :rating, favourite = :favourite, note = :note WHERE number = :at"), values
    )
    own = text(f"DELETE FROM image_labels WHERE number = :at AND kind IN ('{TAG}', '{COLLECTION}')")
    connection.execute(own, [{"at": number} for number in marked])
    labels = [
        {"kind": kind, "name": name, "number": number}
        for number, marks in marked.items()
        for kind, names in ((TAG, marks.tags), (COLLECTION, marks.collections))
        for name in names
    ]
    if labels:
        connection.execute(insert(image_labels), labels)


def set_trashed(connection: Connection, numbers: Sequence[int], instant: str | None) -> None:
    """Move images, at most CHUNK, to the trash at `instant`, or out of it."""
    connection.execute(images.update().where(images.c.number.in_(numbers)).values(trashed_at=instant))


def labels(connection: Connection, kind: str, seen: Conditions = ((), {})) -> list[str]:
    """Return all names of a kind that some image has, in alphabetical order; `seen` are conditions on its number."""
    where, values = seen
    named = select(image_labels.c.name).where(image_labels.c.kind == kind, *map(text, where))
    return list(connection.scalars(named.distinct().order_by(image_labels.c.name), values))


def option_members(connection: Connection, key: str, seen: Conditions = ((), {})) -> set[str]:
    """Return the members of a list option in all images that are not in the trash, each up to its first colon.

    `seen` are conditions on the number of an image.
    """
    where, values = seen
    used = select(images.c.option_set).where(images.c.trashed_at.is_(None), *map(text, where))
    filled = cast(option_sets.c.options, Text).like(f'%"{key}": [_%]%')  # an empty list is `[]`
    sets = select(option_sets.c.options).where(filled, option_sets.c.id.in_(used))
    lists = (found.get(key) for found in connection.scalars(sets, values) if isinstance(found, dict))
    return {str(member).partition(":")[0] for members in lists if isinstance(members, list) for member in members}


def _put_inputs(connection: Connection, number: int, request: GenerationRequest) -> None:
    connection.execute(delete(image_inputs).where(image_inputs.c.number == number))
    sources = {**request.inputs, **({PARENT: request.parent} if request.parent else {})}
    for role, source in sources.items():
        connection.execute(insert(image_inputs).values(role=role, source=source, number=number))


def _put_program(connection: Connection, number: int, record: ImageRecord) -> None:
    """Write which program made an imported image; nothing for an image of this studio."""
    here = (image_labels.c.number == number, image_labels.c.kind == PROGRAM)
    connection.execute(delete(image_labels).where(*here))
    if program := str(record.effective.get("taken_in_from", "")):
        name = well_formed(program)[:LONGEST_NAME]
        connection.execute(insert(image_labels).values(kind=PROGRAM, name=name, number=number))


def _put_owner(connection: Connection, number: int, record: ImageRecord, owner: str) -> None:
    """Write whom an image belongs to; one that has an owner keeps it."""
    if not owner and record.job_id is not None:
        client = connection.scalar(select(jobs.c.client).where(jobs.c.id == record.job_id)) or ""
        owner = client if client.startswith(USER_CLIENT) else ""
    if owner:
        here = select(image_labels.c.name).where(image_labels.c.number == number, image_labels.c.kind == OWNER)
        if connection.scalar(here) is None:
            connection.execute(insert(image_labels).values(kind=OWNER, name=owner, number=number))


def _option_set(connection: Connection, options: Mapping[str, Any]) -> int:
    words = json.dumps(dict(options), sort_keys=True)
    digest = hashlib.sha256(words.encode()).hexdigest()
    known = select(option_sets.c.id).where(option_sets.c.digest == digest)
    number = connection.scalar(known)
    if number is None:
        new = {"digest": digest, "options": _searchable(json.loads(words))}
        insert_if_new(connection, option_sets, new)
        number = connection.execute(known).scalar_one()
    return int(number)


def _searchable(value: Any) -> Any:
    """Return `value` in a form that every database can look into; the record keeps it as it is."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed(key): _searchable(item) for key, item in value.items()}
    return [_searchable(item) for item in value] if isinstance(value, list) else value


def records_of(connection: Connection, found: Sequence[Row[Any]]) -> dict[str, dict[str, Any]]:
    """Return the JSON records of rows, by id."""
    return _data(connection, [row.id for row in found])


def _data(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the JSON records by id."""
    found = {}
    for start in range(0, len(ids), CHUNK):
        selected = image_records.c.image_id.in_(ids[start : start + CHUNK])
        found.update({row.image_id: row.record for row in connection.execute(select(image_records).where(selected))})
    return found


def _labels(connection: Connection, numbers: Sequence[int]) -> dict[tuple[int, str], list[str]]:
    """Return names by (number, kind), in alphabetical order."""
    found: dict[tuple[int, str], list[str]] = {}
    for start in range(0, len(numbers), CHUNK):
        selected = image_labels.c.number.in_(numbers[start : start + CHUNK])
        for row in connection.execute(select(image_labels).where(selected).order_by(image_labels.c.name)):
            found.setdefault((row.number, row.kind), []).append(row.name)
    return found
