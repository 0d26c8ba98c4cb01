"""Parameters inside PNG, JPEG and WebP."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import piexif
import piexif.helper
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from core.storage.infotext import well_formed
from core.storage.metadata import JPEG_SEGMENT, FileMetadata, read_metadata, save_arguments
from tests.examples import examples

FORMATS = ("png", "jpeg", "webp")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
TEXTS = st.one_of(
    ANY_TEXT,
    st.sampled_from(["红色的房子，日落", "بيت أحمر ‏ RTL", "a\r\nb\tc", "👩‍👩‍👧 emoji", "<&\"'>]]>", "\ufffe\uffff"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def saved(format: str, parameters: str, record: dict[str, Any]) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 3)).save(buffer, format.upper(), **save_arguments(format, parameters, record))
    return buffer


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=examples(150), deadline=None)
@given(parameters=TEXTS.map(well_formed), record=st.dictionaries(TEXTS, JSON, max_size=4))
def test_round_trip(format: str, parameters: str, record: dict[str, Any]) -> None:
    read = read_metadata(saved(format, parameters, record))
    exact = json.loads(json.dumps(record))  # joins split surrogate pairs, as every JSON reader does
    assert read == FileMetadata(format, (5, 3), parameters, exact)


@pytest.mark.parametrize("format", FORMATS)
def test_a_lone_surrogate_is_kept_in_our_record(format: str) -> None:
    read = read_metadata(saved(format, "x", {"prompt": "a\ud83d b\udc00"}))
    assert read is not None and read.record == {"prompt": "a\ud83d b\udc00"}


def test_png_chunks_are_the_ones_that_the_standard_has() -> None:
    def kinds(parameters: str) -> dict[bytes, bytes]:
        data, place, found = saved("png", parameters, {"a": "红"}).getvalue(), 8, {}
        while place < len(data):
            length, kind = struct.unpack(">I4s", data[place : place + 8])
            found[data[place + 8 : place + 8 + length].split(b"\0")[0]] = kind
            place += 12 + length
        return found

    assert kinds("plain")[b"parameters"] == b"tEXt"
    assert kinds("红")[b"parameters"] == b"iTXt"
    assert kinds("é")[b"parameters"] == b"iTXt"
    assert kinds("plain")[b"zdarkroom"] == b"iTXt"


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_a1111s_own_reader_finds_the_comment(format: str) -> None:
    with Image.open(saved(format, "红色的房子 😀\nSteps: 8", {})) as image:
        comment = piexif.load(image.info["exif"])["Exif"][piexif.ExifIFD.UserComment]
    assert piexif.helper.UserComment.load(comment) == "红色的房子 😀\nSteps: 8"


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_comments_written_by_a1111_are_read(format: str) -> None:
    comment = piexif.helper.UserComment.dump("红\nSteps: 8", encoding="unicode")
    buffer = io.BytesIO()
    exif = piexif.dump({"Exif": {piexif.ExifIFD.UserComment: comment}})
    Image.new("RGB", (5, 3)).save(buffer, format.upper(), exif=exif)
    assert read_metadata(buffer) == FileMetadata(format, (5, 3), "红\nSteps: 8", None)


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_both_survive_being_saved_again_by_pillow(format: str) -> None:
    with Image.open(saved(format, "红", {"a": ["<&>", 1]})) as image:
        again = io.BytesIO()
        image.save(again, format.upper(), exif=image.getexif(), xmp=image.info["xmp"])
    assert read_metadata(again) == FileMetadata(format, (5, 3), "红", {"a": ["<&>", 1]})


def test_what_a_jpeg_cannot_hold_is_left_out_and_the_rest_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    read = read_metadata(saved("jpeg", "长" * JPEG_SEGMENT, {"a": 1}))
    assert read == FileMetadata("jpeg", (5, 3), None, {"a": 1})
    read = read_metadata(saved("jpeg", "x", {"a": "长" * JPEG_SEGMENT}))
    assert read == FileMetadata("jpeg", (5, 3), "x", None)
    assert "does not fit" in caplog.text
    for format in ("png", "webp"):
        read = read_metadata(saved(format, "长" * JPEG_SEGMENT, {"a": "长" * JPEG_SEGMENT}))
        assert read == FileMetadata(format, (5, 3), "长" * JPEG_SEGMENT, {"a": "长" * JPEG_SEGMENT})


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_damaged_files_never_raise(format: str, data: st.DataObject) -> None:
    good = bytearray(saved(format, "红" * 20, {"a": "b" * 20}).getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    read = read_metadata(io.BytesIO(bytes(good[: data.draw(st.integers(0, len(good)))])))
    assert read is None or read.format in ("png", "jpeg", "webp")


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", "9" * 10_000, "null", '{"a": 1e999', ""])
def test_a_record_that_is_no_json_object_is_no_record(text: str) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("zdarkroom", text)
    chunks.add_text("parameters", "still read")
    buffer = io.BytesIO()
    Image.new("RGB", (5, 3)).save(buffer, "PNG", pnginfo=chunks)
    assert read_metadata(buffer) == FileMetadata("png", (5, 3), "still read", None)
