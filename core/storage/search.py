"""Questions to the history: words, filters, any order, and pages by key, so that page 1,000 costs what page 1 does.

One index (ix_images_filter) holds everything that is filtered and sorted by. A question is one walk over it, 9 MB for
100,000 pictures, whatever its filters are; only the rows of the page itself are then read.
What this module does not know: records and files.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, select, text

from core.config.options import SCHEMA
from core.errors import OptionError
from core.storage.database import stamp
from core.storage.dialects import Wording, wording_of
from core.storage.dialects.contract import Conditions
from core.storage.infotext import well_formed
from core.storage.rows import COLLECTION, PARENT, TAG
from core.storage.tables import images
from core.storage.words import split
from core.types import HistoryQuery

SORTS = (
    "created_at", "seed", "width", "height", "num_inference_steps", "guidance_scale", "seconds", "rating", "favourite",
    "model", "format", "bytes",
)  # fmt: skip
TEXT_SORTS = ("created_at", "model", "format")
EXACT = ("model", "width", "height", "seed", "format", "favourite", "missing")
RANGES = (
    ("min_steps", "num_inference_steps", ">="), ("max_steps", "num_inference_steps", "<="),
    ("min_guidance", "guidance_scale", ">="), ("max_guidance", "guidance_scale", "<="),
    ("min_rating", "rating", ">="),
)  # fmt: skip
MAX_LIMIT = 1000  # rows in one page
MAX_NUMBER = 2**53  # what JSON and SQLite both hold exactly
MAX_TEXT = 1000  # characters
MAX_OPTIONS = 50


def find(connection: Connection, query: HistoryQuery) -> tuple[Sequence[Row[Any]], str | None, int]:
    """Rows of `images`, the cursor of the next page (None on the last), how many match in all. Raises OptionError."""
    _check(query)
    where, values = _conditions(query, wording_of(connection))
    total = (
        connection.scalar(
            text(f"SELECT count(*) FROM {_source(connection, query)} WHERE {' AND '.join(where)}"), values
        )
        or 0
    )
    if total == 0:
        if query.cursor is not None:
            _decoded(query)  # a wrong one is told, whatever was found
        return [], None, 0
    page, cursor = _page(connection, query, where, values)
    numbers = [place.number for place in page]
    rows = {row.number: row for row in connection.execute(select(images).where(images.c.number.in_(numbers)))}
    return [rows[number] for number in numbers], cursor, total


def ids(connection: Connection, query: HistoryQuery) -> list[str]:
    """The ids of all that match, in the query's order; its page and cursor do not count."""
    _check(query)
    where, values = _conditions(query, wording_of(connection))
    statement = f"SELECT id FROM {_source(connection, query)} WHERE {' AND '.join(where)} {_order(query)}"
    return list(connection.scalars(text(statement), values))


def neighbours(connection: Connection, query: HistoryQuery, row: Row[Any]) -> tuple[str | None, str | None]:
    """The ids before and after `row` in the query's order; None at an end."""
    _check(query)
    found = []
    for descending in (not query.descending, query.descending):
        towards = replace(query, descending=descending, limit=1, offset=0)
        value = row._mapping[query.sort]
        here = _encoded(towards, value, row.id)
        where, values = _conditions(towards, wording_of(connection))
        next_one, _ = _page(connection, replace(towards, cursor=here), where, values)
        found.append(next_one[0].id if next_one else None)
    return found[0], found[1]


def _source(connection: Connection, query: HistoryQuery) -> str:
    return "images" if query.trashed else wording_of(connection).index_source


def _page(
    connection: Connection, query: HistoryQuery, where: list[str], values: dict[str, Any]
) -> tuple[Sequence[Row[Any]], str | None]:
    """(number, id, value of the sort column) of the pictures of one page, and the cursor of the next."""
    where, values = list(where), dict(values)
    if query.cursor is not None:
        sign = "<" if query.descending else ">"
        where.append(f"({query.sort}, id) {sign} (:last_value, :last_id)")
        value, values["last_id"] = _decoded(query)
        values["last_value"] = wording_of(connection).sorted_value(query.sort, value)
    place = query.offset if query.cursor is None else 0
    statement = (
        f"SELECT number, id, {query.sort} AS value FROM {_source(connection, query)} WHERE {' AND '.join(where)} "
        f"{_order(query)} LIMIT {query.limit + 1} OFFSET {place}"
    )
    rows = connection.execute(text(statement), values).all()
    page = rows[: query.limit]
    return page, _encoded(query, page[-1].value, page[-1].id) if len(rows) > query.limit else None


def _order(query: HistoryQuery) -> str:
    direction = "DESC" if query.descending else "ASC"
    return f"ORDER BY {query.sort} {direction}, id {direction}"


def _check(query: HistoryQuery) -> None:
    if query.sort not in SORTS:
        raise _unusable("sort", query.sort, ", ".join(SORTS))
    if not 1 <= query.limit <= MAX_LIMIT:
        raise _unusable("limit", query.limit, f"1 - {MAX_LIMIT}")
    if len(query.text) > MAX_TEXT:
        raise _unusable("text", f"{len(query.text)} characters", f"0 - {MAX_TEXT} characters")
    if len(query.options) > MAX_OPTIONS:
        raise _unusable("options", len(query.options), f"0 - {MAX_OPTIONS}")
    for name in ("width", "height", "offset", "seed", *(name for name, _, _ in RANGES)):
        if not 0 <= (getattr(query, name) or 0) <= MAX_NUMBER:
            raise _unusable(name, getattr(query, name), f"0 - {MAX_NUMBER}")


def _conditions(query: HistoryQuery, wording: Wording) -> Conditions:
    """Everything that is asked for, as SQL; since <= created_at < until."""
    where = [f"trashed_at IS {'NOT ' if query.trashed else ''}NULL"]
    values: dict[str, Any] = {}
    for name in EXACT:
        if (value := getattr(query, name)) is not None:
            where.append(f"{name} = :{name}")
            values[name] = well_formed(value) if isinstance(value, str) else value
    for name, column, sign in RANGES:
        if (value := getattr(query, name)) is not None:
            where.append(f"{column} {sign} :{name}")
            values[name] = value
    for name, sign in (("since", ">="), ("until", "<")):
        if (instant := getattr(query, name)) is not None:
            where.append(f"created_at {sign} :{name}")
            values[name] = stamp(instant)
    for kind, label in ((TAG, query.tag), (COLLECTION, query.collection)):
        if label is not None:
            where.append(f"number IN (SELECT number FROM image_labels WHERE kind = '{kind}' AND name = :{kind})")
            values[kind] = well_formed(label)
    if query.parent is not None:
        where.append(f"number IN (SELECT number FROM image_inputs WHERE role = '{PARENT}' AND source = :parent)")
        values["parent"] = well_formed(query.parent)
    for name, sign in (("ids", "IN"), ("without", "NOT IN")):
        if listed := getattr(query, name):
            where.append(f"id {sign} ({wording.listed(name)})")
            values[name] = json.dumps([well_formed(image_id) for image_id in listed])
    for parts, more in (*_words(query.text, wording), *_options(query, wording)):
        where.extend(parts)
        values.update(more)
    return where, values


def _words(words: str, wording: Wording) -> Iterator[Conditions]:
    """Every word in one of the prompts: by the index of words, or letter by letter where that has no word for it (%, an emoji)."""
    known, unknown = split(words)
    if known:
        yield wording.has_words(known)
    if unknown:
        yield wording.has_text(unknown)


def _options(query: HistoryQuery, wording: Wording) -> Iterator[Conditions]:
    """Each advanced option at exactly this value; a picture that does not know the option does not match.

    Of a list one of its members is asked for, whole or by the name before its colon: `ink` finds `ink:0.5`.
    """
    for key, value in query.options.items():
        if '"' in key or key != well_formed(key) or not isinstance(value, str | int | float | bool):
            raise _unusable("options", f"{key} = {value}", "a key and a plain value")
    if query.options:
        asked = {key: well_formed(value) if isinstance(value, str) else value for key, value in query.options.items()}
        lists = {key: str(value) for key, value in asked.items() if key in _LISTS}
        parts, values = wording.has_options({key: value for key, value in asked.items() if key not in _LISTS})
        more, members = wording.has_members(lists)
        yield (
            [f"option_set IN (SELECT id FROM option_sets WHERE {' AND '.join([*parts, *more])})"],
            {**values, **members},
        )


_LISTS = {option.key for option in SCHEMA.request_options() if option.type == "list"}


# -- cursors: where the page before ended, bound to its order --------------------------------------------------------


def _encoded(query: HistoryQuery, value: Any, image_id: str) -> str:
    place = [query.sort, query.descending, int(value) if isinstance(value, bool) else value, image_id]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _decoded(query: HistoryQuery) -> tuple[Any, str]:
    """(value of the sort column, id) of the last row of the page before. Raises OptionError."""
    try:
        sort, descending, value, image_id = json.loads(base64.urlsafe_b64decode(str(query.cursor)))
    except (ValueError, TypeError, RecursionError) as error:
        raise _unusable("cursor", query.cursor, "next_cursor of a page") from error
    of_its_kind = _is_text if query.sort in TEXT_SORTS else _is_number
    if (sort, descending) != (query.sort, query.descending) or not of_its_kind(value) or not _is_text(image_id):
        raise _unusable("cursor", query.cursor, f"next_cursor of a page in the order of {query.sort}")
    return value, image_id


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value == well_formed(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


def _unusable(name: str, came: object, allowed: str) -> OptionError:
    return OptionError(source="history", key=name, came=came, allowed=allowed)
