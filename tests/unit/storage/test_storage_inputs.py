"""Images that others are made from: what is taken, what is refused, and what refers to them."""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import InputImageError, NotFoundError, StorageError
from core.history.integrity import check, rebuild
from core.history.store import History
from core.jobs.queue import JobQueue
from core.storage.database import Database
from core.storage.input_images import FRESH_SECONDS, MAX_FILE, InputImages
from core.types import GenerationRequest, HistoryQuery
from tests.unit.storage.conftest import MakeImage


@pytest.fixture
def inputs(outputs: Path) -> InputImages:
    return InputImages(outputs)


def encoded(image: Image.Image, format: str = "PNG", **more: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **more)
    return file.getvalue()


def image(colour: object = (200, 30, 10), size: tuple[int, int] = (40, 24)) -> Image.Image:
    image = Image.new("RGB", size, colour)
    image.putpixel((3, 5), (1, 2, 3))
    return image


def grown_old(path: Path) -> None:
    then = time.time() - FRESH_SECONDS - 60
    os.utime(path, (then, then))


def test_the_same_image_is_kept_once_whatever_file_it_came_in(inputs: InputImages, outputs: Path) -> None:
    one = inputs.keep(encoded(image()))
    assert (
        one == inputs.keep(encoded(image(), compress_level=0)) == inputs.keep(encoded(image(), "WEBP", lossless=True))
    )
    assert [path.name for path in (outputs / "inputs").iterdir()] == [f"{one}.png"]
    assert inputs.keep(encoded(image((200, 30, 11)))) != one
    assert inputs.size(one) == (40, 24) and inputs.read(one).tobytes() == image().tobytes()
    assert inputs.keep(inputs.file(one).read_bytes()) == one


P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))  # red, green, blue in XYZ of D50
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))


def display_p3() -> bytes:
    """An ICC profile of Display P3's colours with a gamma of 2.2."""
    xyz = [struct.pack(">4s4x3i", b"XYZ ", *(round(65536 * value) for value in row)) for row in P3]
    white = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)
    curve = struct.pack(">4s4xIHxx", b"curv", 1, round(2.2 * 256))
    text = struct.pack(">4s4xI3s78x3x", b"desc", 3, b"P3\0")
    tags = dict(zip((b"desc", b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"),
                    (text, white, *xyz, curve, curve, curve), strict=True))  # fmt: skip
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table, body = table + struct.pack(">4sII", name, at + len(body), len(data)), body + data
    rest = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(">I4sI4s4s4s12x4s", 128 + len(rest), b"\0" * 4, 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061).ljust(60, b"\0") + rest


def test_colours_are_converted_from_the_icc_profile_to_srgb(inputs: InputImages) -> None:
    """Against the formula: to linear light, by the primaries to XYZ and to sRGB's, and back through its curve."""
    wide = np.random.default_rng(5).integers(60, 200, (16, 16, 3)).astype(np.uint8)
    linear = (wide / 255) ** 2.2 @ np.array(P3) @ np.linalg.inv(np.array(SRGB))
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.clip(linear, 1e-9, None) ** (1 / 2.4) - 0.055)
    for format, more in (("PNG", {}), ("WEBP", {"lossless": True})):
        kept = inputs.keep(encoded(Image.fromarray(wide), format, icc_profile=display_p3(), **more))
        found = np.asarray(inputs.read(kept), float)
        assert np.abs(found - 255 * expected.clip(0, 1)).mean() < 1 and np.abs(found - wide).mean() > 3
    damaged = inputs.keep(encoded(Image.fromarray(wide), icc_profile=b"no profile"))
    assert np.array_equal(np.asarray(inputs.read(damaged)), wide)


def test_it_is_turned_upright_laid_over_white_and_made_rgb(inputs: InputImages) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    assert inputs.size(inputs.keep(encoded(image(), "JPEG", exif=exif))) == (24, 40)
    glass = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    glass.putpixel((0, 0), (10, 20, 30, 255))
    seen = inputs.read(inputs.keep(encoded(glass)))
    assert seen.mode == "RGB" and seen.getpixel((0, 0)) == (10, 20, 30) and seen.getpixel((5, 5)) == (255, 255, 255)
    grey = Image.new("I;16", (32, 32), 40_000)
    assert inputs.read(inputs.keep(encoded(grey))).getpixel((0, 0)) == (156, 156, 156)
    assert inputs.read(inputs.keep(encoded(image().convert("P")))).mode == "RGB"


def bomb(width: int, height: int) -> bytes:
    """A PNG whose head promises that many pixels, and some that it has."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a PNG, JPEG or WebP image"),
        (b"GIF89a" + bytes(100), "not a PNG, JPEG or WebP image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG, JPEG or WebP image"),
        (encoded(image())[:-30], "damaged"),
        (bomb(60_000, 60_000), "damaged"),  # Pillow's own limit
        (bomb(9_000, 9_000), "9000x9000"),
        (encoded(image(size=(15, 400))), "15x400"),
        (bytes(MAX_FILE + 1), "64 MB"),
    ],
)  # fmt: skip
def test_what_is_no_image_or_too_large_is_told_before_it_is_decoded(
    inputs: InputImages, outputs: Path, data: bytes, words: str
) -> None:
    with pytest.raises(InputImageError) as error:
        inputs.keep(data, "mine.png")
    for language in ("en", "zh"):
        message = error.value.message(language)
        assert "mine.png" in message and "\n" not in message
    assert words in error.value.message("en")
    assert not (outputs / "inputs").exists()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_image_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    inputs = InputImages(tmp_path_factory.getbasetemp() / "any")
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBPVP8 "):
        with pytest.raises(InputImageError):
            inputs.keep(start + data)


@pytest.mark.parametrize("digest", ["", "../studio.db", "0" * 64, "A" * 64, "/etc/passwd"])
def test_only_a_digest_names_a_file(inputs: InputImages, digest: str) -> None:
    for look in (inputs.file, inputs.size, inputs.read):
        with pytest.raises(NotFoundError):
            look(digest)


def test_a_file_that_is_not_what_was_stored_is_told(inputs: InputImages) -> None:
    digest = inputs.keep(encoded(image()))
    inputs.file(digest).write_bytes(encoded(image((9, 9, 9))))
    with pytest.raises(InputImageError):
        inputs.read(digest)
    inputs.file(digest).write_bytes(b"?")
    with pytest.raises(InputImageError):
        inputs.size(digest)


def test_a_check_removes_what_nothing_refers_to_and_never_what_something_does(
    inputs: InputImages, outputs: Path, database: Database, history: History, make_image: MakeImage
) -> None:
    of_image, of_mask, of_trashed, of_job, of_nobody, fresh = (inputs.keep(encoded(image((k, 0, 0)))) for k in range(6))
    history.add(make_image(inputs={"image": of_image, "mask_image": of_mask}), None)
    history.trash([history.add(make_image(inputs={"image": of_trashed}), None).id])
    queue = JobQueue(database)
    queue.cancel(queue.submit(GenerationRequest(prompt="x", inputs={"image": of_job})).id)  # may be retried
    for digest in (of_image, of_mask, of_trashed, of_job, of_nobody):
        grown_old(inputs.file(digest))
    assert check(database, outputs).inputs == 1
    left = {path.stem for path in (outputs / "inputs").iterdir()}
    assert left == {of_image, of_mask, of_trashed, of_job, fresh}
    grown_old(inputs.file(of_trashed))
    history.empty_trash()
    assert check(database, outputs).inputs == 1, "it went with the last image that was made from it"


def test_children_are_found_by_their_parent_also_after_a_rebuild(
    database: Database, outputs: Path, history: History, make_image: MakeImage
) -> None:
    parent = history.add(make_image(), None)
    child = history.add(make_image(parent=parent.id, inputs={"image": "ab" * 32}, seed=8), None)
    history.add(make_image(seed=9), None)
    for _ in range(2):
        found = history.search(HistoryQuery(parent=parent.id)).records
        assert [record.id for record in found] == [child.id]
        assert found[0].request.parent == parent.id and found[0].request.inputs == {"image": "ab" * 32}
        rebuild(database, outputs)


@pytest.mark.parametrize("bad", [{"inputs": {"image": "../x"}}, {"inputs": {"other": "ab" * 32}}, {"parent": "../x"}])
def test_a_record_from_elsewhere_names_no_file_of_ours(history: History, make_image: MakeImage, bad: dict) -> None:
    with pytest.raises(StorageError):
        history.add(make_image(**bad), None)
