"""Encode a history query as one part of an address, and return the part of its result that a gallery shows.

GET /api/history?query=<word>&offset=50000&limit=100  ->  {"total": 100000, "items": [{"id": ..., "alt": ...}, ...]}

"""

from __future__ import annotations

import base64
import json
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core.errors import OptionError
from core.studio import Studio
from core.types import STORED_OFFSET, HistoryPage, HistoryQuery, cfg_of

PART = 100  # images that a gallery asks for at a time
MAX_WORD = 60_000  # characters: what servers take as an address
TIMES = ("since", "until")
LISTS = ("ids", "without", "unknown")
KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("text", "model", "format", "tag", "collection", "sort", "cursor", *TIMES), str),
    **dict.fromkeys(("width", "height", "seed", "min_steps", "max_steps", "min_rating", "limit", "offset"), int),
    **dict.fromkeys(("min_cfg_scale", "max_cfg_scale"), (int, float)),
    **dict.fromkeys(("favourite", "missing", "imported", "trashed", "descending"), bool),
    "options": dict,
    **dict.fromkeys(LISTS, list),
}


def write_query(query: HistoryQuery) -> str:
    """Return a query's differences from the default, URL-safe."""
    plain = HistoryQuery()
    asked = {f.name: value for f in fields(query) if (value := getattr(query, f.name)) != getattr(plain, f.name)}
    words = json.dumps({name: _plain(value) for name, value in asked.items()}, separators=(",", ":"))
    return base64.urlsafe_b64encode(words.encode()).decode().rstrip("=")


def read_query(word: str) -> HistoryQuery:
    """Return the query that `write_query` encoded. Raises OptionError for anything else."""
    try:
        if len(word) > MAX_WORD:
            raise ValueError(len(word))
        data = json.loads(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)) if word else "{}")
        return HistoryQuery(**{name: _typed(name, value) for name, value in _present(data).items()})
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError) as error:
        raise OptionError(source="history", key="query", value=word[:60], allowed="the word of a page") from error


def _present(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a question under their present names: version 0.1.0 asked for CFG - 1.

    Raises AttributeError for what is no object.
    """
    found = dict(data.items())
    for end in ("min", "max"):
        if f"{end}_guidance" in found:
            found[f"{end}_cfg_scale"] = cfg_of(found.pop(f"{end}_guidance"), STORED_OFFSET)
    if found.get("sort") == "guidance_scale":
        found["sort"] = "cfg_scale"
    return found


def answer(studio: Studio, request: Request) -> Response:
    """Return the images from `offset` on. Raises InputError for an invalid query."""
    asked = request.query_params
    try:
        place, limit = int(asked.get("offset", "0")), int(asked.get("limit", "100"))
    except ValueError as error:
        raise OptionError(source="history", key="offset, limit", value=error, allowed="whole numbers") from error
    page = studio.history.search(replace(read_query(asked.get("query", "")), cursor=None, offset=place, limit=limit))
    return JSONResponse({"total": page.total, "items": items(page)}, headers={"Cache-Control": "no-store"})


def items(page: HistoryPage) -> list[dict[str, Any]]:
    """Return the images of a page as the gallery component takes them."""
    return [
        {
            "id": record.id,
            "alt": record.request.prompt[:300],
            "rating": record.marks.rating,
            "favourite": record.marks.favourite,
        }
        for record in page.records
    ]


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else dict(value) if isinstance(value, dict) else value


def _typed(name: str, value: Any) -> Any:
    kind = KINDS[name]
    of_its_kind = isinstance(value, kind) and (not isinstance(value, bool) or kind is bool)
    if not of_its_kind:
        raise TypeError(name)
    if name in TIMES:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError(name)
        return instant
    return tuple(str(item) for item in value) if name in LISTS else value
