"""Export what was found: a CSV or Parquet table, or a ZIP of the images with the table beside them.

All three are made while they are sent, a page of the history at a time, so that 100,000 images need no more memory than
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from core.config.options import SCHEMA
from core.errors import NotFoundError, StudioError
from core.history.csv_safe import csv_line, harmless
from core.server.listing import read_query
from core.storage.infotext import well_formed
from core.studio import Studio
from core.types import HistoryQuery, ImageRecord

PAGE = 500  # images that are read at a time
ZIP_PART = 1 << 16  # bytes
WHOLE, NUMBER, SEED = "int64", "float64", "uint64"
COLUMNS = {
    "id": "string", "created_at": "string", "file": "string", "format": "string", "width": WHOLE, "height": WHOLE,
    "bytes": WHOLE, "model": "string", "prompt": "string", "negative_prompt": "string", "num_inference_steps": WHOLE,
    "cfg_scale": NUMBER, "seed": SEED, "seconds": NUMBER, "rating": WHOLE, "favourite": "bool", "tags": "string",
    "collections": "string", "note": "string",
}  # fmt: skip


def answer(studio: Studio, request: Request) -> Response:
    """Return the requested export: csv, parquet or zip."""
    kind = request.path_params["kind"]
    query = replace(read_query(request.query_params.get("query", "")), cursor=None, offset=0, limit=PAGE)
    named = {"Content-Disposition": f'attachment; filename="z-darkroom.{kind}"', "Cache-Control": "no-store"}
    if kind == "csv":
        return StreamingResponse(table(studio, query), media_type="text/csv; charset=utf-8", headers=named)
    if kind == "zip":
        return StreamingResponse(archive(studio, query), media_type="application/zip", headers=named)
    if kind == "parquet":
        path = parquet(studio, query)
        return FileResponse(path, headers=named, background=BackgroundTask(path.unlink))
    raise NotFoundError(kind="export", value=kind)


def records(studio: Studio, query: HistoryQuery) -> Iterator[ImageRecord]:
    """Yield all matching records, page by page."""
    while True:
        page = studio.history.search(query)
        yield from page.records
        if page.next_cursor is None:
            return
        query = replace(query, cursor=page.next_cursor)


def row(record: ImageRecord) -> dict[str, Any]:
    """Return one line of the table: search columns, annotations, and every advanced option."""
    request, marks = record.request, record.marks
    values = {
        **{name: getattr(record, name) for name in ("id", "file", "format", "width", "height", "bytes")},
        "created_at": record.created_at.isoformat(),
        **{name: record.known(name) for name in
           ("model", "prompt", "negative_prompt", "num_inference_steps", "cfg_scale", "seed")},
        "seconds": record.seconds,
        **{name: getattr(marks, name) for name in ("rating", "favourite", "note")},
        "tags": "; ".join(marks.tags),
        "collections": "; ".join(marks.collections),
        **{option.key: _words(request.options.get(option.key)) for option in SCHEMA.request_options()},
    }  # fmt: skip
    return {name: well_formed(value) if isinstance(value, str) else value for name, value in values.items()}


def columns() -> list[str]:
    """Return the column names of an exported table."""
    return [*COLUMNS, *(option.key for option in SCHEMA.request_options())]


def table(studio: Studio, query: HistoryQuery) -> Iterator[bytes]:
    """Yield the lines of a CSV with a byte order mark."""
    yield "\ufeff".encode() + csv_line(columns())
    for record in records(studio, query):
        values = row(record)
        yield csv_line([harmless(values[name]) for name in columns()])


def parquet(studio: Studio, query: HistoryQuery) -> Path:
    """Write a temporary Parquet file, which the caller removes; return its path."""
    import pyarrow as arrow
    from pyarrow import parquet as writer

    kinds = {
        "string": arrow.string(),
        WHOLE: arrow.int64(),
        SEED: arrow.uint64(),
        NUMBER: arrow.float64(),
        "bool": arrow.bool_(),
    }
    schema = arrow.schema([(name, kinds[COLUMNS.get(name, "string")]) for name in columns()])
    with tempfile.NamedTemporaryFile(suffix=".parquet", delete=False) as handle:
        with writer.ParquetWriter(handle, schema) as table:
            part: list[dict[str, Any]] = []
            for record in records(studio, query):
                part.append(row(record))
                if len(part) == 10 * PAGE:
                    table.write_table(arrow.Table.from_pylist(part, schema))
                    part = []
            table.write_table(arrow.Table.from_pylist(part, schema))
    return Path(handle.name)


def archive(studio: Studio, query: HistoryQuery) -> Iterator[bytes]:
    """Stream a ZIP: each image with its metadata, then `history.csv`. Missing files are left out.

    An image's record is beside it as JSON, too, so that nothing is lost where the file was written without metadata.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(cast(IO[bytes], pipe), "w", zipfile.ZIP_STORED, allowZip64=True) as bundle:
        for record in records(studio, query):
            try:
                path = studio.history.file(record.id)
            except StudioError:
                continue
            with bundle.open(record.file, "w", force_zip64=True) as entry, path.open("rb") as handle:
                while part := handle.read(ZIP_PART):
                    entry.write(part)
                    yield pipe.taken()
            bundle.writestr(f"{record.file}.json", json.dumps(row(record), ensure_ascii=False, indent=1))
            yield pipe.taken()
        with bundle.open("history.csv", "w", force_zip64=True) as entry:
            for line in table(studio, query):
                entry.write(line)
                yield pipe.taken()
    yield pipe.taken()


class _Pipe(io.RawIOBase):
    """A file that can only be written to, and gives back what it got: zipfile then writes without ever seeking."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """Return all that was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _words(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
