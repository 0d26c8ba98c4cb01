"""Copy a whole database into another one, row by row, all or nothing, and compare the copy with the original.

What works the same everywhere is moved; previews and the words of dead workers are not worth it, and the index of words is
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Connection, Table, func, insert, select

from core.errors import MoveError
from core.i18n import localize
from core.storage.database import Database
from core.storage.dialects import dialect_of
from core.storage.dialects.contract import stored_text
from core.storage.infotext import well_formed
from core.storage.tables import images, metadata, previews, workers

PART = 500  # rows that are sent at once
LEFT_OUT = (previews.name, workers.name)
TABLES = tuple(
    table for table in metadata.sorted_tables if table.name not in LEFT_OUT
)  # what is pointed at comes first


@dataclass(frozen=True)
class CopyReport:
    """A table that was moved: its rows, and a SHA-256 over all of them that both sides agreed on."""

    table: str
    rows: int
    digest: str


def move(source: Database, target: Database) -> tuple[CopyReport, ...]:
    """Copy everything into `target`, which must be empty, in one transaction, and compare. The source stays as it is.

    Raises MoveError, or StorageError, and leaves the target as empty as it was.
    """
    with source.reading() as sending, target.writing() as receiving:
        for connection in (sending, receiving):
            dialect_of(connection).take_time(connection)
        _demand_empty(receiving, target.name)
        moved = [_move_table(sending, receiving, table) for table in TABLES]
        _move_words(receiving)
        dialect_of(receiving).after_copy(receiving)
        for sent in moved:
            received = _summary(receiving, metadata.tables[sent.table])
            if received != sent:
                detail = f"{sent.table}: {sent.rows} / {received.rows}, {sent.digest[:12]} / {received.digest[:12]}"
                raise MoveError(
                    target=target.name, detail=localize("storage.database_copy.the_rows_differ", detail=detail)
                )
    return tuple(moved)


def _demand_empty(connection: Connection, name: str) -> None:
    for table in TABLES:
        if count := connection.scalar(select(func.count()).select_from(table)):
            detail = localize("storage.database_copy.it_has_rows_in_already", count=count, name=table.name)
            raise MoveError(target=name, detail=detail)


def _move_table(sending: Connection, receiving: Connection, table: Table) -> CopyReport:
    sums = _Sums(table)
    for part in _parts(sending, table):
        receiving.execute(insert(table), [_parsed(table, row) for row in part])
        sums.add(part)
    return sums.result()


def _move_words(receiving: Connection) -> None:
    wording = dialect_of(receiving)
    columns = select(images.c.number, images.c.prompt, images.c.negative_prompt)
    last = -1
    while part := receiving.execute(columns.where(images.c.number > last).order_by(images.c.number).limit(PART)).all():
        wording.put_words(receiving, [(row.number, row.prompt, row.negative_prompt) for row in part])
        last = part[-1].number


def _summary(connection: Connection, table: Table) -> CopyReport:
    sums = _Sums(table)
    for part in _parts(connection, table):
        sums.add(part)
    return sums.result()


class _Sums:
    """Count and digest of rows, in the order of their keys."""

    def __init__(self, table: Table) -> None:
        self._table, self._rows, self._sum = table.name, 0, hashlib.sha256()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self._sum.update(json.dumps(row, sort_keys=True).encode() + b"\n")
        self._rows += len(rows)

    def result(self) -> CopyReport:
        return CopyReport(self._table, self._rows, self._sum.hexdigest())


def _parts(connection: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    """Return all rows, PART at a time, with JSON as text in one spelling."""
    columns = [
        stored_text(column).label(column.name) if isinstance(column.type, JSON) else column for column in table.columns
    ]
    keys = list(table.primary_key.columns)
    found = connection.execute(select(*columns).order_by(*keys).execution_options(yield_per=PART))
    for part in found.partitions():
        yield [{name: _plain(table, name, value) for name, value in row._mapping.items()} for row in part]


def _plain(table: Table, name: str, value: Any) -> Any:
    """Return a value as both databases can hold it: NaN becomes a word, what is no JSON a text."""
    if value is None or not isinstance(table.columns[name].type, JSON):
        return well_formed(value) if isinstance(value, str) else value
    try:
        found = json.loads(str(value), parse_constant=str)
    except ValueError:
        found = value
    return None if found is None else json.dumps(found, sort_keys=True)


def _parsed(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for an insert."""
    return {
        name: json.loads(value) if value is not None and isinstance(table.columns[name].type, JSON) else value
        for name, value in row.items()
    }
