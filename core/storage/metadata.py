"""Write and read parameters in image files: A1111's text and our own record, in PNG, JPEG and WebP.

| format | A1111 text                                           | our record (JSON)               |
| PNG    | chunk `parameters`: tEXt if ASCII, else iTXt         | iTXt chunk `zdarkroom`          |
| JPEG   | EXIF UserComment (0x9286), `UNICODE\\0` and UTF-16BE  | XMP, element `zdarkroom:record` |
| WebP   | the same                                             | the same                        |

XMP is made for fields of one's own: it survives Pillow and the usual editors, is no caption that viewers show, and in
JPEG it has a segment of its own, so that the two do not compete for the 64 KB of one segment. On request, XMP also names IPTC's
DigitalSourceType (IPTC Photo Metadata Standard 2025.1, "Digital Source Type"), in each of the formats.
"""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.storage.embedded_texts import OWN_SOFTWARE, PARAMETERS, UNICODE, decode_blocks
from core.storage.image_containers import ImageBlocks, read_blocks

log = logging.getLogger(__name__)

RECORD = "zdarkroom"
JPEG_SEGMENT = 65_500  # bytes: a JPEG segment is 65,535 with its length and the name of its kind
_EXIF_IFD, _USER_COMMENT, _SOFTWARE = 0x8769, 0x9286, 0x0131
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:zdarkroom="https://zdarkroom.invalid/record/1/"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    "{}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
)
_XMP_CHUNK = "XML:com.adobe.xmp"  # the keyword of XMP in a PNG
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{SOURCE_TYPES}trainedAlgorithmicMedia"  # made from text
EDITED = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"  # made from an image


@dataclass(frozen=True)
class FileMetadata:
    """What an image file says of itself. `size` is (width, height) in pixels; `format` is png, jpeg, webp ..."""

    format: str
    size: tuple[int, int]
    parameters: str | None = None  # the A1111 text, as found
    record: Mapping[str, Any] | None = None  # our own JSON


def save_arguments(
    format: str, parameters: str | None, record: Mapping[str, Any] | None, source_type: str | None = None
) -> dict[str, Any]:
    """Return the keyword arguments of `Image.save` that put these into a file of `format`; None is left out.

    `parameters` must be encodable (see `infotext.well_formed`), `source_type` is GENERATED or EDITED. What is too
    long for a JPEG segment is left out (see `fits`).
    """
    if format == "png":
        return {"pnginfo": _png_chunks(parameters, record, source_type)}
    blocks: dict[str, bytes] = {}
    if parameters is not None:
        blocks["exif"] = _exif(parameters)
    if record is not None or source_type is not None:
        blocks["xmp"] = _xmp(record, source_type)
    if format == "jpeg":
        for name in [name for name, block in blocks.items() if len(block) > JPEG_SEGMENT]:
            log.warning("%s of %d bytes does not fit into a JPEG and is left out", name, len(blocks.pop(name)))
    return blocks


def fits(format: str, record: Mapping[str, Any]) -> bool:
    """Return whether a file of `format` can hold the record: a JPEG segment takes 64 KB, prompts may have more."""
    return format != "jpeg" or len(_xmp(record, EDITED)) <= JPEG_SEGMENT


def read_metadata(source: Path | IO[bytes]) -> FileMetadata | None:
    """Return what the file says, without decoding its pixels; None when it is no image. Never raises for its content."""
    found = read_texts(source)
    if found is None:
        return None
    metadata, texts = found
    return replace(metadata, parameters=texts.get(PARAMETERS), record=_parsed(texts.get(RECORD)))


def read_texts(source: Path | IO[bytes]) -> tuple[FileMetadata, dict[str, str]] | None:
    """Return every named text that an image of any program carries, whatever its format; None when it is no image.

    A PNG chunk has the name of its keyword. The EXIF user comment is `parameters`, our XMP is `zdarkroom`, and EXIF fields such as
    `prompt:{...}`, which ComfyUI writes, have the name that they say.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                return _read_texts(file)
        return _read_texts(source)
    except Exception as error:  # Pillow raises many kinds on damaged files, and a file from elsewhere may hold anything
        log.debug("%s is not read: %s", source, error)
        return None


def _read_texts(file: IO[bytes]) -> tuple[FileMetadata, dict[str, str]]:
    blocks = read_blocks(file)
    if blocks is None or blocks.size is None:
        file.seek(0)
        with Image.open(file) as image:
            pillow = ImageBlocks((image.format or "").lower(), image.size, exif=_bytes(image.info.get("exif")),
                                 xmp=_bytes(image.info.get("xmp")), comment=_bytes(image.info.get("comment")))  # fmt: skip
        blocks = pillow if blocks is None else replace(blocks, size=pillow.size)
    if blocks.size is None or min(blocks.size) < 1:
        raise ValueError("an image without a size")
    if blocks.left_out:
        log.warning("metadata blocks that are too large or damaged are not read: %s", ", ".join(blocks.left_out[:5]))
    return FileMetadata(blocks.format, blocks.size), decode_blocks(blocks)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "replace") if isinstance(value, str) else b""


# -- our record ----------------------------------------------------------------------------------------------------


def _json(record: Mapping[str, Any]) -> bytes:
    """Return UTF-8 that any viewer shows. Half surrogates, which UTF-8 can't hold, become JSON escapes."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _parsed(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _png_chunks(parameters: str | None, record: Mapping[str, Any] | None, source_type: str | None) -> PngInfo:
    chunks = PngInfo()
    if parameters is not None and parameters.isascii():
        chunks.add_text(PARAMETERS, parameters)
    elif parameters is not None:  # tEXt is Latin-1 by the standard, and not every reader knows that
        chunks.add_itxt(PARAMETERS, parameters)
    if record is not None:
        chunks.add_itxt(RECORD, _json(record))
    if source_type is not None:
        chunks.add_itxt(_XMP_CHUNK, _xmp(None, source_type))
    return chunks


def _xmp(record: Mapping[str, Any] | None, source_type: str | None) -> bytes:
    elements = ""
    if source_type is not None:
        elements += f"<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>"
    if record is not None:
        text = escape(_json(record).decode("utf-8"))
        for forbidden in "\ufffe\uffff":  # the only characters left that XML 1.0 does not allow
            text = text.replace(forbidden, f"\\u{ord(forbidden):04x}")
        elements += f"<zdarkroom:record>{text}</zdarkroom:record>"
    return _XMP.format(elements).encode("utf-8")


# -- EXIF ----------------------------------------------------------------------------------------------------------


def _exif(parameters: str) -> bytes:
    """Return an EXIF block with Software and UserComment.

    Written by hand because Pillow marks the comment as BYTE and A1111 reads only UNDEFINED, as the standard has it.
    """
    comment, software = UNICODE + parameters.encode("utf-16-be"), OWN_SOFTWARE.encode() + b"\0"
    second_at, software_at = 38, 56
    comment_at = software_at + len(software) + len(software) % 2
    first = struct.pack(">HHHII", 2, _SOFTWARE, 2, len(software), software_at)
    first += struct.pack(">HHIII", _EXIF_IFD, 4, 1, second_at, 0)  # where the EXIF directory is
    second = struct.pack(">HHHIII", 1, _USER_COMMENT, 7, len(comment), comment_at, 0)
    head = b"MM\0*" + struct.pack(">I", 8) + first + second
    return b"Exif\0\0" + (head + software).ljust(comment_at, b"\0") + comment
