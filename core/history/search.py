"""Find and count images, a page at a time and in any order. Pages continue by key, so page 1,000 costs what page 1 does."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, select, text

from core.history.hidden_collections import EVERYTHING, Scope
from core.history.importers.common import LARGEST_SEED
from core.history.query_sql import RANGES, UNTOLD, QuerySql, asked_by, unusable
from core.storage.dialects import dialect_of
from core.storage.infotext import well_formed
from core.storage.tables import images
from core.types import HistoryQuery

SORTS = (
    "created_at", "seed", "width", "height", "num_inference_steps", "cfg_scale", "seconds", "rating", "favourite",
    "model", "format", "bytes",
)  # fmt: skip
TEXT_SORTS = ("created_at", "model", "format")
MAX_LIMIT = 1000  # rows in one page
MAX_NUMBER = 2**53  # what JSON and SQLite both hold exactly
MAX_TEXT = 1000  # characters
MAX_OPTIONS = 50


def find(
    connection: Connection, query: HistoryQuery, scope: Scope = EVERYTHING
) -> tuple[Sequence[Row[Any]], str | None, int]:
    """Return rows of `images`, the cursor of the next page (None on the last), how many match in all. Raises OptionError."""
    check(query)
    asked = asked_by(query, dialect_of(connection), scope)
    if (dear := asked.dear(query.sort)) is not None:
        page, cursor = _page(connection, query, dear, asked.values, keeping=True)
        total = page[0].total if page else _count(connection, asked)
    elif (total := _count(connection, asked)) or query.cursor is not None:  # a wrong cursor is an error whatever is found
        page, cursor = _page(connection, query, asked.source(query.sort, total), asked.values)
    else:
        return [], None, 0
    numbers = [place.number for place in page]
    rows = {row.number: row for row in connection.execute(select(images).where(images.c.number.in_(numbers)))}
    return [rows[number] for number in numbers], cursor, total


def ids(connection: Connection, query: HistoryQuery, scope: Scope = EVERYTHING) -> list[str]:
    """Return the ids of all that match, in the query's order; its page and cursor do not count."""
    check(query)
    asked = asked_by(query, dialect_of(connection), scope)
    return list(connection.scalars(text(f"SELECT id FROM {asked.source(query.sort)} {_order(query)}"), asked.values))


def neighbours(
    connection: Connection, query: HistoryQuery, row: Row[Any], scope: Scope = EVERYTHING
) -> tuple[str | None, str | None]:
    """Return the ids before and after `row` in the query's order; None at an end."""
    check(query)
    asked = asked_by(query, dialect_of(connection), scope)
    found = []
    for descending in (not query.descending, query.descending):
        towards = replace(query, descending=descending, limit=1, offset=0)
        here = _encoded(towards, row._mapping[query.sort], row.id)
        next_one, _ = _page(connection, replace(towards, cursor=here), asked.source(query.sort), asked.values)
        found.append(next_one[0].id if next_one else None)
    return found[0], found[1]


def _count(connection: Connection, asked: QuerySql) -> int:
    return int(connection.execute(text(asked.count()), asked.values).scalar_one())


def _page(
    connection: Connection, query: HistoryQuery, source: str, values: dict[str, Any], keeping: bool = False
) -> tuple[Sequence[Row[Any]], str | None]:
    """Return (number, id, sort value) of the images of one page, and the cursor of the next.

    `keeping` all that `source` finds for a moment, so that it's counted, too: `total` in each row.
    """
    columns = f"number, id, {query.sort} AS value"
    keep = ""
    if keeping:
        keep = f"WITH found AS MATERIALIZED (SELECT number, id, {query.sort} FROM {source}) "
        source, columns = "found WHERE true", f"{columns}, (SELECT count(*) FROM found) AS total"
    if query.cursor is not None:
        sign = "<" if query.descending else ">"
        source += f" AND ({query.sort}, id) {sign} (:last_value, :last_id)"
        value, last_id = _decoded(query)
        values = {**values, "last_id": last_id, "last_value": dialect_of(connection).sorted_value(query.sort, value)}
    place = query.offset if query.cursor is None else 0
    statement = f"{keep}SELECT {columns} FROM {source} {_order(query)} LIMIT {query.limit + 1} OFFSET {place}"
    rows = connection.execute(text(statement), values).all()
    page = rows[: query.limit]
    return page, _encoded(query, page[-1].value, page[-1].id) if len(rows) > query.limit else None


def _order(query: HistoryQuery) -> str:
    direction = "DESC" if query.descending else "ASC"
    return f"ORDER BY {query.sort} {direction}, id {direction}"


def check(query: HistoryQuery) -> None:
    """Raise OptionError for a query that can't be answered."""
    if query.sort not in SORTS:
        raise unusable("sort", query.sort, ", ".join(SORTS))
    if not 1 <= query.limit <= MAX_LIMIT:
        raise unusable("limit", query.limit, f"1 - {MAX_LIMIT}")
    if len(query.text) > MAX_TEXT:
        raise unusable("text", f"{len(query.text)} characters", f"0 - {MAX_TEXT} characters")
    if len(query.options) > MAX_OPTIONS:
        raise unusable("options", len(query.options), f"0 - {MAX_OPTIONS}")
    if strange := set(query.unknown).difference(UNTOLD):
        raise unusable("unknown", ", ".join(sorted(strange)), ", ".join(UNTOLD))
    for name in ("width", "height", "offset", "seed", *(name for name, _, _ in RANGES)):
        largest = LARGEST_SEED if name == "seed" else MAX_NUMBER
        if not 0 <= (getattr(query, name) or 0) <= largest:
            raise unusable(name, getattr(query, name), f"0 - {largest}")


# -- cursors: where the page before ended, bound to its order --------------------------------------------------------


def _encoded(query: HistoryQuery, value: Any, image_id: str) -> str:
    place = [query.sort, query.descending, int(value) if isinstance(value, bool) else value, image_id]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _decoded(query: HistoryQuery) -> tuple[Any, str]:
    """Return (sort value, id) of the last row of the page before. Raises OptionError."""
    try:
        sort, descending, value, image_id = json.loads(base64.urlsafe_b64decode(str(query.cursor)))
    except (ValueError, TypeError, RecursionError) as error:
        raise unusable("cursor", query.cursor, "next_cursor of a page") from error
    of_its_kind = _is_text if query.sort in TEXT_SORTS else _is_number
    if (sort, descending) != (query.sort, query.descending) or not of_its_kind(value) or not _is_text(image_id):
        raise unusable("cursor", query.cursor, f"next_cursor of a page in the order of {query.sort}")
    return value, image_id


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value == well_formed(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
