"""Parameters inside picture files: the A1111 text and our own record, in PNG, JPEG and WebP.

| format | A1111 text                                           | our record (JSON)               |
| PNG    | chunk `parameters`: tEXt if ASCII, else iTXt         | iTXt chunk `zdarkroom`          |
| JPEG   | EXIF UserComment (0x9286), `UNICODE\\0` and UTF-16BE  | XMP, element `zdarkroom:record` |
| WebP   | the same                                             | the same                        |

XMP is made for fields of one's own: it survives Pillow and the usual editors, is no caption that viewers show, and in
JPEG it has a segment of its own, so that the two do not compete for the 64 KB of one segment.
What this module does not know: what the record says (see `records`).
"""

from __future__ import annotations

import json
import logging
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape, unescape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

log = logging.getLogger(__name__)

PARAMETERS, RECORD = "parameters", "zdarkroom"
JPEG_SEGMENT = 65_500  # bytes: a JPEG segment is 65,535 with its length and the name of its kind
_EXIF_IFD, _USER_COMMENT, _UNICODE, _ASCII = 0x8769, 0x9286, b"UNICODE\0", b"ASCII\0\0\0"
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:zdarkroom="https://zdarkroom.invalid/record/1/">'
    "<zdarkroom:record>{}</zdarkroom:record></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
)
_NAMED_FIELD = re.compile(r"(\w{1,40}):\s*\{")
_XMP_RECORD = re.compile(r"<zdarkroom:record>([^<]*)</zdarkroom:record>")


@dataclass(frozen=True)
class FileMetadata:
    """What a picture file says of itself. `size` is (width, height) in pixels; `format` is png, jpeg, webp ..."""

    format: str
    size: tuple[int, int]
    parameters: str | None = None  # the A1111 text, as found
    record: Mapping[str, Any] | None = None  # our own JSON


def save_arguments(format: str, parameters: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `Image.save` that put both into a file of `format`.

    `parameters` must be encodable (see `infotext.well_formed`). What is too long for a JPEG segment (prompts of
    thousands of emoji) is left out and logged: the picture and its row in the database matter more.
    """
    if format == "png":
        return {"pnginfo": _png_chunks(parameters, record)}
    blocks = {"exif": _exif(parameters), "xmp": _xmp(record)}
    if format == "jpeg":
        for name in [name for name, block in blocks.items() if len(block) > JPEG_SEGMENT]:
            log.warning("%s of %d bytes does not fit into a JPEG and is left out", name, len(blocks.pop(name)))
    return blocks


def read_metadata(source: Path | IO[bytes]) -> FileMetadata | None:
    """What the file says, without decoding its pixels; None when it is no picture. Never raises for its content."""
    try:
        with Image.open(source) as image:
            found = FileMetadata((image.format or "").lower(), image.size)
            return _read(image, found)
    except Exception as error:  # Pillow raises many kinds on damaged files, and a file from elsewhere may hold anything
        log.debug("%s is not read: %s", source, error)
        return None


def read_texts(source: Path | IO[bytes]) -> tuple[FileMetadata, dict[str, str]] | None:
    """All named texts that a picture of any program carries, whatever its format; None when it is no picture.

    PNG: its text chunks. JPEG and WebP: the UserComment is `parameters`, our XMP is `zdarkroom`, and fields such as
    `prompt:{...}`, which ComfyUI puts into EXIF, are what they call themselves.
    """
    try:
        with Image.open(source) as image:
            found = FileMetadata((image.format or "").lower(), image.size)
            return found, _texts(image, found)
    except Exception as error:  # as above
        log.debug("%s is not read: %s", source, error)
        return None


def _read(image: Image.Image, found: FileMetadata) -> FileMetadata:
    texts = _texts(image, found)
    return FileMetadata(found.format, found.size, texts.get(PARAMETERS), _parsed(texts.get(RECORD)))


def _texts(image: Image.Image, found: FileMetadata) -> dict[str, str]:
    try:
        if found.format == "png":
            named: dict[Any, Any] = dict(image.info)
        else:
            exif = image.getexif()
            comment = _user_comment(exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT))
            named = {PARAMETERS: comment, RECORD: _xmp_record(image.info.get("xmp"))}
            named |= {"Comment": _decoded(image.info.get("comment"))}
            for value in exif.values():
                if isinstance(value, str) and (field := _NAMED_FIELD.match(value)):
                    named.setdefault(field[1], value[field.end(1) + 1 :])
        return {str(name): text for name, value in named.items() if (text := _text(value)) is not None}
    except Exception as error:  # damaged EXIF in a good picture
        log.debug("metadata is not read: %s", error)
        return {}


def _decoded(value: Any) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None


# -- our record ----------------------------------------------------------------------------------------------------


def _json(record: Mapping[str, Any]) -> bytes:
    """UTF-8 that is readable in any viewer. Half surrogates, which UTF-8 can't hold, become their JSON escapes."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _parsed(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str) else None  # Pillow's iTXt is a subclass of str


def _png_chunks(parameters: str, record: Mapping[str, Any]) -> PngInfo:
    chunks = PngInfo()
    if parameters.isascii():
        chunks.add_text(PARAMETERS, parameters)
    else:  # tEXt is Latin-1 by the standard, and not every reader knows that
        chunks.add_itxt(PARAMETERS, parameters)
    chunks.add_itxt(RECORD, _json(record))
    return chunks


def _xmp(record: Mapping[str, Any]) -> bytes:
    text = escape(_json(record).decode("utf-8"))
    for forbidden in "\ufffe\uffff":  # the only characters left that XML 1.0 does not allow
        text = text.replace(forbidden, f"\\u{ord(forbidden):04x}")
    return _XMP.format(text).encode("utf-8")


def _xmp_record(xmp: bytes | None) -> str | None:
    found = _XMP_RECORD.search(xmp.decode("utf-8", "replace")) if xmp else None
    return unescape(found.group(1)) if found else None


# -- EXIF ----------------------------------------------------------------------------------------------------------


def _exif(parameters: str) -> bytes:
    """An EXIF block with a UserComment only.

    Written by hand because Pillow marks the field as BYTE and A1111 reads only UNDEFINED, as the standard has it.
    """
    comment = _UNICODE + parameters.encode("utf-16-be")
    first = struct.pack(">HHHIII", 1, _EXIF_IFD, 4, 1, 26, 0)  # one entry: where the EXIF directory is
    second = struct.pack(">HHHIII", 1, _USER_COMMENT, 7, len(comment), 44, 0)  # one entry: where the comment is
    return b"Exif\0\0MM\0*" + struct.pack(">I", 8) + first + second + comment


def _user_comment(value: Any) -> str | None:
    if not isinstance(value, bytes):
        return None
    if value.startswith(_UNICODE):
        return value[len(_UNICODE) :].decode("utf-16-be", "replace")
    return value.removeprefix(_ASCII).decode("utf-8", "replace")
