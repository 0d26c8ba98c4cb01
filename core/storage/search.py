"""Pages of the history: filters, any sort column, and paging by key, so that page 1,000 costs what page 1 does.

What this module does not know: records and files.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select, tuple_

from core.errors import OptionError
from core.storage.database import stamp
from core.storage.infotext import well_formed
from core.storage.tables import images
from core.types import HistoryQuery

SORTS = ("created_at", "seed", "width", "height", "num_inference_steps", "guidance_scale", "seconds")
MAX_LIMIT = 1000  # rows in one page
MAX_SIDE = 2**31 - 1  # px
MAX_TEXT = 1000  # characters: longer patterns are beyond what SQLite's LIKE accepts


def find(connection: Connection, query: HistoryQuery) -> tuple[Sequence[Row[Any]], str | None, int]:
    """Rows of `images`, the cursor of the next page (None on the last), how many match in all. Raises OptionError."""
    _check(query)
    conditions = _conditions(query)
    key = (images.c[query.sort], images.c.id)
    place = None if query.cursor is None else tuple_(*_decoded(query))
    total = connection.scalar(select(func.count()).select_from(images).where(*conditions)) or 0
    if total == 0:  # known by now: looking through all rows once more for a page would take as long again
        return [], None, 0
    if place is not None:
        conditions.append(tuple_(*key) < place if query.descending else tuple_(*key) > place)
    order = [column.desc() if query.descending else column for column in key]
    rows = connection.execute(select(images).where(*conditions).order_by(*order).limit(query.limit + 1)).all()
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return rows, _encoded(query, rows[-1]) if more else None, total


def _check(query: HistoryQuery) -> None:
    if query.sort not in SORTS:
        raise _unusable("sort", query.sort, ", ".join(SORTS))
    if not 1 <= query.limit <= MAX_LIMIT:
        raise _unusable("limit", query.limit, f"1 - {MAX_LIMIT}")
    if len(query.text) > MAX_TEXT:
        raise _unusable("text", f"{len(query.text)} characters", f"0 - {MAX_TEXT} characters")
    for side in ("width", "height"):
        if not 0 <= (getattr(query, side) or 0) <= MAX_SIDE:
            raise _unusable(side, getattr(query, side), f"0 - {MAX_SIDE} px")


def _conditions(query: HistoryQuery) -> list[ColumnElement[bool]]:
    """Every word of the text in one of the prompts; the model and the size exactly; since <= created_at < until."""
    found = [_has_word(word) for word in well_formed(query.text).split()]
    if query.model is not None:
        found.append(images.c.model == well_formed(query.model))
    if query.since is not None:
        found.append(images.c.created_at >= stamp(query.since))
    if query.until is not None:
        found.append(images.c.created_at < stamp(query.until))
    if query.width is not None:
        found.append(images.c.width == query.width)
    if query.height is not None:
        found.append(images.c.height == query.height)
    return found


def _has_word(word: str) -> ColumnElement[bool]:
    """SQLite's LIKE ignores the case of ASCII letters only, which is what is wanted in Chinese and English."""
    columns = (images.c.prompt, images.c.negative_prompt)
    return or_(*(column.contains(word, autoescape=True) for column in columns))


# -- cursors: where the page before ended, bound to its order --------------------------------------------------------


def _encoded(query: HistoryQuery, row: Row[Any]) -> str:
    place = [query.sort, query.descending, row._mapping[query.sort], row.id]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _decoded(query: HistoryQuery) -> tuple[Any, str]:
    """(value of the sort column, id) of the last row of the page before. Raises OptionError."""
    try:
        sort, descending, value, image_id = json.loads(base64.urlsafe_b64decode(str(query.cursor)))
    except (ValueError, TypeError, RecursionError) as error:
        raise _unusable("cursor", query.cursor, "next_cursor of a page") from error
    of_its_kind = _is_text if query.sort == "created_at" else _is_number
    if (sort, descending) != (query.sort, query.descending) or not of_its_kind(value) or not _is_text(image_id):
        raise _unusable("cursor", query.cursor, f"next_cursor of a page in the order of {query.sort}")
    return value, image_id


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isascii()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


def _unusable(name: str, came: object, allowed: str) -> OptionError:
    return OptionError(source="history", key=name, came=came, allowed=allowed)
