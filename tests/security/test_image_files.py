"""Attacks in image files: huge images in small files, records that name files, parsers that never end."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.errors import ImageTooLargeError, ImportFileError, ServerRefusedError, StorageError
from core.history import contact_sheet
from core.history.image_quality import compare_images
from core.history.reading_process import NOT_READ, ReadingProcess
from core.history.store import History
from core.remote import generator as remote_generator
from core.storage import image_containers
from core.storage.database import Database
from core.storage.embedded_texts import xmp_texts
from core.storage.image_writer import Thumbnails
from core.storage.input_images import InputImages
from core.storage.metadata import read_metadata, save_arguments
from core.types import FoundParameters, HistoryQuery
from tests.security.endless_reader import ENDLESS, GREEDY

MEGABYTE = 1 << 20


def bomb(side: int) -> bytes:
    """A whole PNG of side x side black pixels in some KB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def huge() -> bytes:
    data = bomb(6000)
    assert len(data) < MEGABYTE
    return data


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def history(tmp_path: Path, outputs: Path) -> Iterator[History]:
    database = Database(tmp_path / "studio.db")
    yield History(database, outputs)
    database.close()


def test_no_way_in_decodes_more_pixels_than_the_budget(
    huge: bytes, history: History, outputs: Path, tmp_path: Path
) -> None:
    """6000 x 6000 in 120 KB would take 144 MB and more; what is refused by its header takes next to nothing."""
    path = tmp_path / "huge.png"
    path.write_bytes(huge)
    tracemalloc.start()
    with pytest.raises(ImageTooLargeError, match="6000x6000"):
        InputImages(outputs).keep(huge, "huge.png")
    with pytest.raises(ImageTooLargeError):
        InputImages(outputs).keep_mask(huge, "huge.png", (64, 64))
    with pytest.raises(ImportFileError, match="6000x6000"):
        history.import_image(huge, "huge.png")
    with pytest.raises(StorageError, match="6000x6000"):
        Thumbnails(outputs).make("ab", path)
    with pytest.raises(StorageError, match="6000x6000"):
        compare_images(path, path)
    with pytest.raises(ServerRefusedError, match="6000x6000"):
        remote_generator._decoded(huge, "http://other:8501")
    sheet = [contact_sheet.draw([cell], [""], [""], ["x"]).tobytes() for cell in (path, None)]
    assert sheet[0] == sheet[1], "a cell without its image"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MEGABYTE


def test_the_budget_follows_the_option() -> None:
    before = image_containers.budget()
    try:
        image_containers.set_budget(1_000_000)
        assert image_containers.budget() == 8_000_000
        with pytest.raises(ImageTooLargeError):
            image_containers.check_pixels((4000, 2001), "x.png")
        image_containers.check_pixels((4000, 2000), "x.png")
    finally:
        image_containers.set_budget(before // 8)


def own(**changes: Any) -> bytes:
    """An image that says it is one of ours."""
    requested = {"prompt": "a red house", "negative_prompt": "", "model": "demo", "width": 8, "height": 8, "seed": 7,
                 "num_inference_steps": 8, "guidance_scale": 0.0, "num_images": 1, "options": {}}  # fmt: skip
    record = {"format": "zdarkroom", "version": 1, "program": "x", "id": "0" * 32, "job_id": None,
    "created_at": "2026-01-01T00:00:00+00:00",
              "requested": requested, "resolved": {}, "decisions": [], "size": {"rendered": [8, 8]}, "timings": {"steps": 1.0},
              "peak_memory_bytes": None}  # fmt: skip
    for name, value in changes.items():
        if name in requested:
            requested[name] = value
        else:
            record[name] = value
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", **save_arguments("png", "x", record))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "../../etc/passwd"}, {"seed": -5}, {"seed": 2**70}, {"seed": "7\n"}, {"seed": 1e300},
        {"created_at": "0001-01-01T00:00:00+00:00"},
        {"created_at": "9999-12-31T23:59:59+00:00"}, {"timings": {"steps": float("nan")}}, {"timings": {"steps": 1e300}},
        {"timings": {"a\x1b[2J": 1.0}},
        {"peak_memory_bytes": -1}, {"peak_memory_bytes": 10**30}, {"model": "a\x00b"}, {"model": "a\x1b]0;x\x07"},
        {"model": "x" * 10_000},
        {"id": "../" * 10}, {"job_id": "../x"}, {"parent": "../x"}, {"inputs": {"image": "../../x"}},
    ],
)  # fmt: skip
@pytest.mark.by_default("changes0", "changes3", "changes6", "changes9", "changes12", "changes15", "changes18")
def test_a_record_with_values_that_none_of_ours_has_is_no_record(
    changes: dict[str, Any], history: History, outputs: Path
) -> None:
    record, new = history.import_image(own(**changes), "x.png", datetime(2026, 1, 2, tzinfo=UTC))
    assert new and record.created_at.year == 2026
    assert history.search(HistoryQuery()).records == (record,)
    files = [path for path in outputs.rglob("*") if path.is_file()]
    assert all(path.resolve().is_relative_to(outputs.resolve()) and path.name.isprintable() for path in files)
    assert record.request.seed in (0, 7) and record.request.model.isprintable() and len(record.request.model) <= 500


def test_our_own_record_is_taken_whole(history: History) -> None:
    record, _ = history.import_image(own(seed=2**64 - 1), "x.png")
    assert record.request.seed == 2**64 - 1 and record.unknown == frozenset()
    assert history.search(HistoryQuery(seed=2**64 - 1)).records == (record,)


def test_metadata_blocks_have_a_limit() -> None:
    """A text that is 100 MB when it is unpacked is not unpacked beyond 8 MB."""
    packed = zlib.compress(b"a" * (100 * MEGABYTE), 9)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    plain = buffer.getvalue()
    body = b"parameters\0\0" + packed
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    tracemalloc.start()
    found = read_metadata(io.BytesIO(plain[:33] + chunk + plain[33:]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None and found.parameters is None and peak < 40 * MEGABYTE


def test_nested_descriptions_of_xmp_are_read_in_linear_time() -> None:
    """100,000 elements within one another, each of which may hold a list of texts: half an hour of looking into them all."""
    nested = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b"<description>" * 50_000 + b"</description>" * 50_000 + b"</x:xmpmeta>"
    start = time.process_time()
    assert list(xmp_texts(nested)) == []
    assert time.process_time() - start < 30  # seconds of CPU


def test_a_file_that_takes_too_long_is_ended_and_the_next_is_read() -> None:
    reader = ReadingProcess(seconds=0.5, module="tests.security.endless_reader")
    try:
        for data in (ENDLESS, GREEDY, ENDLESS):
            found = reader.read(data)
            assert found is not None and found.program == "" and found.unused[NOT_READ]
        assert ReadingProcess(module="no.such.module").read(b"x") == FoundParameters(
            "", {}, {NOT_READ: "not read within 5 s"}
        )
        assert (found := ReadingProcess(module="tests.security.endless_reader").read(b"x")) and found.program == "read"
    finally:
        reader.close()
