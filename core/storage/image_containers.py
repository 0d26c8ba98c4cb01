"""Read size and embedded metadata blocks of image files without decoding pixels: PNG, JPEG and WebP.

Each file is walked once from block to block; blocks that hold no metadata are skipped, not read. Every block and the sum of all
blocks have a limit, so that no file can take much time or memory.

The header also decides whether a file may be decoded, and there is one budget for every way in: input images, imports, thumbnails,
masks, control images. It follows from `service.max_pixels`, so that who allows larger images may also use them.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from PIL import Image

from core.config.options import SCHEMA
from core.errors import ImageTooLargeError

MAX_BLOCK = 8 << 20  # bytes of one metadata block, after decompression
MAX_TOTAL = 24 << 20  # bytes of all metadata blocks of one file
MAX_BLOCKS = 20_000  # blocks that are walked; a PNG of 256 MB in chunks of 8 KB has 32,000, nearly all of them IDAT

PNG, JPEG, WEBP = "png", "jpeg", "webp"
FORMATS = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".webp": WEBP}  # by the ending of a file
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIZE_MARKERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_XMP_NAME, _XMP_MORE_NAME = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
XMP_KEYWORD = "XML:com.adobe.xmp"
RAW_PROFILES = {
    "Raw profile type exif": "exif",
    "Raw profile type APP1": "exif",
    "Raw profile type xmp": "xmp",
}  # ImageMagick's


@dataclass
class ImageBlocks:
    """What the container of an image file holds. `size` is (width, height) in pixels, None while unknown."""

    format: str
    size: tuple[int, int] | None = None
    texts: dict[str, bytes] = field(default_factory=dict)  # PNG keyword -> text as stored, decompressed
    unicode_keywords: set[str] = field(default_factory=set)  # keywords of iTXt chunks, UTF-8 by definition
    exif: bytes = b""
    xmp: bytes = b""
    comment: bytes = b""
    has_alpha: bool = False
    left_out: list[str] = field(default_factory=list)  # names of blocks that are too large or damaged
    total: int = 0

    def take(self, name: str, length: int) -> bool:
        """Count a block of `length` bytes; False, and noted, where it is over a limit."""
        if length > MAX_BLOCK or self.total + length > MAX_TOTAL:
            self.left_out.append(name[:80])
            return False
        self.total += length
        return True


def read_blocks(file: IO[bytes]) -> ImageBlocks | None:
    """Return the blocks of a PNG, JPEG or WebP; None for any other file. Damage ends the walk; earlier blocks are kept."""
    file.seek(0)
    start = file.read(16)
    if start.startswith(_PNG_SIGNATURE):
        blocks, walk = ImageBlocks(PNG), _read_png
    elif start.startswith(b"\xff\xd8\xff"):
        blocks, walk = ImageBlocks(JPEG), _read_jpeg
    elif start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        blocks, walk = ImageBlocks(WEBP), _read_webp
    else:
        return None
    with suppress(struct.error, IndexError):  # the file ends in the middle of a block
        walk(file, blocks)
    return blocks


# -- PNG -----------------------------------------------------------------------------------------------------------


def _read_png(file: IO[bytes], blocks: ImageBlocks) -> None:
    file.seek(len(_PNG_SIGNATURE))
    counted = 0
    while counted < MAX_BLOCKS:
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IDAT":
            file.seek(length + 4, 1)
            continue
        counted += 1
        if kind == b"IEND":
            return
        if kind in (b"IHDR", b"tEXt", b"zTXt", b"iTXt", b"eXIf") and blocks.take(kind.decode(), length):
            _png_chunk(kind, file.read(length), blocks)
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)


def _png_chunk(kind: bytes, data: bytes, blocks: ImageBlocks) -> None:
    if kind == b"IHDR":
        width, height, _, color = struct.unpack(">IIBB", data[:10])
        blocks.size, blocks.has_alpha = (width, height), color in (4, 6)
        return
    if kind == b"eXIf":
        blocks.exif = blocks.exif or data
        return
    keyword, _, rest = data.partition(b"\0")
    name = keyword[:80].decode("latin-1")
    if kind == b"tEXt":
        text: bytes | None = rest
    elif kind == b"zTXt":
        text = _inflated(name, rest[1:], blocks)
    else:
        compressed = rest[:1] == b"\1"
        _, _, after_language = rest[2:].partition(b"\0")
        _, _, text = after_language.partition(b"\0")
        text = _inflated(name, text, blocks) if compressed else text
        if text is not None:
            blocks.unicode_keywords.add(name)
    if text is None:
        return
    if name == XMP_KEYWORD:
        blocks.xmp = blocks.xmp or text
    elif name in RAW_PROFILES:
        profile = _raw_profile(text)
        if RAW_PROFILES[name] == "exif":
            blocks.exif = blocks.exif or profile.removeprefix(b"Exif\0\0")
        else:
            blocks.xmp = blocks.xmp or profile
    elif (
        name not in blocks.texts or text
    ):  # as everywhere, the last of two chunks of one name counts, unless it is empty
        blocks.texts[name] = text


def _raw_profile(text: bytes) -> bytes:
    """Return the bytes of a profile that ImageMagick writes as text: its name, its length, hexadecimal digits."""
    lines = text.strip().split(b"\n", 2)
    try:
        return bytes.fromhex(lines[2].decode("ascii")) if len(lines) == 3 else b""
    except ValueError:
        return b""


def _inflated(name: str, data: bytes, blocks: ImageBlocks) -> bytes | None:
    """Decompress a text, up to the limit; None where it is damaged or too large."""
    decoder = zlib.decompressobj()
    try:
        text = decoder.decompress(data, MAX_BLOCK)
    except zlib.error:
        blocks.left_out.append(name)
        return None
    if decoder.unconsumed_tail or not blocks.take(name, len(text)):
        if name not in blocks.left_out:
            blocks.left_out.append(name)
        return None
    return text


# -- JPEG ----------------------------------------------------------------------------------------------------------


def _read_jpeg(file: IO[bytes], blocks: ImageBlocks) -> None:
    extended: list[bytes] = []
    for marker, data in _segments(file, blocks):
        if marker in _SIZE_MARKERS and len(data) >= 5:
            height, width = struct.unpack(">HH", data[1:5])
            blocks.size = blocks.size or (width, height)
        elif marker == 0xE1 and data.startswith(b"Exif\0"):
            blocks.exif = blocks.exif or data[6:]
        elif marker == 0xE1 and data.startswith(_XMP_NAME):
            blocks.xmp = blocks.xmp or data[len(_XMP_NAME) :]
        elif marker == 0xE1 and data.startswith(_XMP_MORE_NAME):
            extended.append(data[len(_XMP_MORE_NAME) + 40 :])  # after the name: a GUID, the whole length, the offset
        elif marker == 0xFE:
            blocks.comment = blocks.comment or data
    if extended and not blocks.xmp:
        blocks.xmp = b"".join(extended)


def _segments(file: IO[bytes], blocks: ImageBlocks) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment up to the pixels. Segments of application data that no reader uses are skipped."""
    file.seek(2)
    for _ in range(MAX_BLOCKS):
        byte = file.read(1)
        if byte != b"\xff":
            return
        while byte == b"\xff":  # fill bytes may precede a marker
            byte = file.read(1)
        if not byte or byte[0] in (0xD9, 0xDA):
            return
        if byte[0] in _JPEG_BARE:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if length < 2:
            return
        if byte[0] in (0xE1, 0xFE) or byte[0] in _SIZE_MARKERS:
            if blocks.take(f"segment {byte[0]:02X}", length - 2):
                yield byte[0], file.read(length - 2)
                continue
        file.seek(length - 2, 1)


# -- WebP ----------------------------------------------------------------------------------------------------------


def _read_webp(file: IO[bytes], blocks: ImageBlocks) -> None:
    file.seek(12)
    for _ in range(MAX_BLOCKS):
        kind, length = struct.unpack("<4sI", file.read(8))
        padding = length & 1
        if kind in (b"EXIF", b"XMP ") and blocks.take(kind.decode(), length):
            data = file.read(length)
            if kind == b"EXIF":
                blocks.exif = blocks.exif or data.removeprefix(b"Exif\0\0")
            else:
                blocks.xmp = blocks.xmp or data
            file.seek(padding, 1)
            continue
        if kind in (b"VP8X", b"VP8 ", b"VP8L"):
            head = file.read(min(length, 10))
            _webp_size(kind, head, blocks)
            file.seek(length + padding - len(head), 1)
        else:
            file.seek(length + padding, 1)


def _webp_size(kind: bytes, head: bytes, blocks: ImageBlocks) -> None:
    if kind == b"VP8X":
        blocks.has_alpha = bool(head[0] & 0x10)
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (4, 7))
        blocks.size = (width, height)
    elif kind == b"VP8L" and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        blocks.has_alpha = blocks.has_alpha or bool(bits >> 28 & 1)
        blocks.size = blocks.size or ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    elif kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[6:10])
        blocks.size = blocks.size or (width & 0x3FFF, height & 0x3FFF)


OPTION = "service.max_pixels"
FACTOR = 8  # of what may be generated: 33 megapixels by default, an 8K image or most photos
AT_ONCE = 2  # decodes

_decodes = threading.BoundedSemaphore(AT_ONCE)
_budget = [FACTOR * int(SCHEMA.options[OPTION].default)]


def set_budget(max_pixels: int) -> None:
    """Set the budget of this process from the value of `service.max_pixels`."""
    _budget[0] = FACTOR * max_pixels


def budget() -> int:
    """Return how many pixels an image may have to be decoded."""
    return _budget[0]


def check_pixels(size: tuple[int, int], name: str | Path) -> None:
    """Raise ImageTooLargeError for an image of more pixels than the budget. `name` is what people call the file."""
    if size[0] * size[1] > budget():
        raise ImageTooLargeError(file=name, value=f"{size[0]}x{size[1]}", allowed=budget())


@contextmanager
def decoding(source: Path | IO[bytes], name: str | Path, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """Open an image within the budget; at most AT_ONCE are decoded at a time. Raises ImageTooLargeError, or as Pillow."""
    with Image.open(source, formats=formats) as image:
        check_pixels(image.size, name)
        with _decodes:
            yield image
