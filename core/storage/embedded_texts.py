"""Decode texts that programs put into image files: PNG text chunks, EXIF in any byte order, XMP.

Encodings are recognised by content, since what tools write often contradicts the marker or the TIFF header beside it.
Every function is linear in its input and returns text for any bytes.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterator
from itertools import islice
from xml.etree import ElementTree

from core.storage.image_containers import ImageBlocks

PARAMETERS, DESCRIPTION, SOFTWARE, COMMENT = "parameters", "Description", "Software", "Comment"
USER_COMMENT, MAKER_NOTE = "UserComment", "MakerNote"
OWN_SOFTWARE = "Z Darkroom"  # how the EXIF field Software of our files begins

_EXIF_IFD, _USER_COMMENT, _SOFTWARE = 0x8769, 0x9286, 0x0131
_NAMED_TAGS = {0x010E: DESCRIPTION, _SOFTWARE: SOFTWARE, 0x927C: MAKER_NOTE}
_WIDE_TAGS = {0x9C9B: "XPTitle", 0x9C9C: "XPComment", 0x9C9E: "XPKeywords", 0x9C9F: "XPSubject"}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_MAX_ENTRIES = 1000
UNICODE = b"UNICODE\0"
_MARKERS = (UNICODE, b"Unicode\0", b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8)
_CHARSETS = (b"charset=Unicode ", b"charset=UNICODE ", b"charset=Ascii ", b"charset=ASCII ", b'charset="Unicode" ')
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"),
         (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))  # fmt: skip
_SAMPLE = 4000  # bytes from which an encoding is detected


def decode_blocks(blocks: ImageBlocks) -> dict[str, str]:
    """Return every named text of a file. The EXIF user comment is `parameters` unless a PNG chunk has that name."""
    texts = {
        name: strip_nul(decode_utf8(data) if name in blocks.unicode_keywords else decode_text(data))
        for name, data in blocks.texts.items()
    }
    for name, text in exif_texts(blocks.exif):
        texts.setdefault(name, text)
    for name, text in xmp_texts(blocks.xmp):
        texts.setdefault(name, text)
    if blocks.comment:
        texts.setdefault(COMMENT, strip_nul(decode_text(blocks.comment)))
    for name in list(texts):  # some programs write the keyword with a capital
        if name.lower() == PARAMETERS:
            texts.setdefault(PARAMETERS, texts[name])
    comment = texts.get(USER_COMMENT) or texts.get("XPComment", texts.get(USER_COMMENT))
    if comment is not None:
        texts.setdefault(PARAMETERS, comment)
    return texts


def decode_utf8(data: bytes) -> str:
    """Decode what must be UTF-8, with U+FFFD for what is not."""
    return data.decode("utf-8", "replace")


def decode_text(data: bytes) -> str:
    """Decode a text chunk: UTF-8 where the bytes are valid UTF-8, Latin-1 (the PNG standard) otherwise."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def strip_nul(text: str) -> str:
    """Remove NUL at both ends: padding, never content."""
    return text.strip("\0")


def decode_comment(data: bytes, own: bool = False) -> str:
    """Decode an EXIF user comment, whatever its marker says: UTF-8, UTF-16 or UTF-32 in either byte order, with or without BOM.

    `own` says that this studio wrote it: then it is UTF-16, big-endian, and nothing is guessed.
    """
    if own and data.startswith(UNICODE):
        return data[len(UNICODE) :].decode("utf-16-be", "replace")
    body, ascii_marker = data, False
    for marker in (*_MARKERS, *_CHARSETS):
        if data.startswith(marker):
            body, ascii_marker = data[len(marker) :], b"asc" in marker.lower()
            break
    for bom, encoding in _BOMS:
        if body.startswith(bom):
            return strip_nul(body[len(bom) :].decode(encoding, "replace"))
    return strip_nul(body.decode(_encoding(body, ascii_marker), "replace"))


def _encoding(body: bytes, ascii_marker: bool) -> str:
    """Tell the encoding of text without BOM. ASCII in UTF-16 has a NUL in every second byte; UTF-8 has none at all."""
    padded = body.rstrip(b"\0")
    if b"\0" not in padded:
        try:
            padded.decode("utf-8")
            return "utf-8"
        except UnicodeDecodeError:
            if ascii_marker:
                return "latin-1"
    sample = padded[:_SAMPLE]
    zeros = [sample[k::4].count(0) for k in range(4)]
    quarter = max(1, len(sample) // 4)
    if len(sample) >= 8 and min(zeros[0], zeros[1], zeros[2]) >= 0.9 * quarter:
        return "utf-32-be"
    if len(sample) >= 8 and min(zeros[1], zeros[2], zeros[3]) >= 0.9 * quarter:
        return "utf-32-le"
    plausible = {name: _plausible(sample.decode(name, "replace")) for name in ("utf-16-be", "utf-16-le")}
    best = max(plausible, key=lambda name: plausible[name])
    if b"\0" not in padded:  # no UTF-8 and no ASCII in UTF-16: either all Chinese, or an old 8-bit encoding
        return best if plausible[best] > 0.9 and len(body) % 2 == 0 else "latin-1"
    return best


def _plausible(text: str) -> float:
    """Return the share of characters that people write, minus that of control characters, private use and unassigned
    code points."""
    if not text:
        return 0.0
    score = 0.0
    for character in text:
        category = unicodedata.category(character)
        if " " <= character <= "~" or character in "\n\r\t":
            score += 2  # a wrong byte order never gives ASCII for ASCII
        elif character == "\ufffd" or category in ("Cc", "Cn", "Co", "Cs"):
            score -= 2
        elif category[0] in "LPSZNM":
            score += 1
    return score / len(text)


# -- EXIF ----------------------------------------------------------------------------------------------------------


def exif_texts(exif: bytes) -> Iterator[tuple[str, str]]:
    """Yield the texts of an EXIF block by name. `Name: {...}` in any text field, as ComfyUI writes it, has that name."""
    own = False
    for tag, kind, data in _fields(exif.removeprefix(b"Exif\0\0")):
        own = own or (tag == _SOFTWARE and data.startswith(OWN_SOFTWARE.encode()))
        if tag == _USER_COMMENT:
            yield USER_COMMENT, decode_comment(data, own)
        elif tag in _WIDE_TAGS:
            yield _WIDE_TAGS[tag], strip_nul(data.decode("utf-16-le", "replace"))
        elif kind in (1, 2, 7, 129):
            text = strip_nul(decode_text(data) if b"\0" not in data.strip(b"\0") else decode_comment(data))
            named = _named_json(text)
            if named is not None:
                yield named
            elif tag in _NAMED_TAGS:
                yield _NAMED_TAGS[tag], text


def _named_json(text: str) -> tuple[str, str] | None:
    """Split `prompt:{...}` or `Workflow: {...}` into lower-case name and JSON."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.lstrip()
    if not colon or not value.startswith("{") or not 0 < len(name) <= 40 or not name.replace("_", "").isalnum():
        return None
    return name.lower() if name.lower() in ("prompt", "workflow") else name, value


def _fields(tiff: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield tag, type and bytes of every entry of the first two directories and the Exif directory."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return
    waiting, seen = [struct.unpack(order + "I", tiff[4:8])[0]], set[int]()
    while waiting:
        at = waiting.pop(0)
        if at in seen or at + 2 > len(tiff) or len(seen) > 4:
            continue
        seen.add(at)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, _MAX_ENTRIES), 12):
            if entry + 12 > len(tiff):
                return
            tag, kind, length = struct.unpack_from(order + "HHI", tiff, entry)
            size = _TYPE_BYTES.get(kind, 1) * length
            start = entry + 8 if size <= 4 else struct.unpack_from(order + "I", tiff, entry + 8)[0]
            if tag == _EXIF_IFD:
                waiting.append(struct.unpack_from(order + "I", tiff, entry + 8)[0])
            elif size and start < len(tiff):
                yield tag, kind, tiff[start : start + size]


# -- XMP -----------------------------------------------------------------------------------------------------------

_XMP_NAMES = {"UserComment": USER_COMMENT, "CreatorTool": "CreatorTool", "description": DESCRIPTION, "parameters": PARAMETERS,
              "Software": SOFTWARE, "record": "zdarkroom"}  # fmt: skip


_ITEMS = 50  # elements of a list of texts that are looked at


def xmp_texts(xmp: bytes) -> Iterator[tuple[str, str]]:
    """Yield the texts of an XMP packet by their local names. A packet with a document type is not read."""
    if not xmp or b"<!DOCTYPE" in xmp or b"<!ENTITY" in xmp:
        return
    start, end = xmp.find(b"<x:xmpmeta"), xmp.rfind(b"</x:xmpmeta>")
    packet = xmp[start : end + len(b"</x:xmpmeta>")] if 0 <= start < end else xmp.strip(b"\0 \r\n")
    try:
        root = ElementTree.fromstring(packet.decode("utf-8", "replace"))
    except (ElementTree.ParseError, ValueError, RecursionError):
        return
    for element in root.iter():
        for name, value in element.attrib.items():
            if (known := _XMP_NAMES.get(name.rpartition("}")[2])) is not None:
                yield known, value
        if (known := _XMP_NAMES.get(element.tag.rpartition("}")[2])) is not None:
            text = element.text if element.text and element.text.strip() else _first_item(element)
            if text:
                yield known, text if known == "zdarkroom" else text.strip()


def _first_item(element: ElementTree.Element) -> str:
    """Return the first text of an `rdf:Alt` or `rdf:Seq`, which stands within the first few elements."""
    near = islice(element.iter(), _ITEMS)  # all of them in each of many nested elements would be quadratic
    return next((item.text for item in near if item.text and item.text.strip()), "")
