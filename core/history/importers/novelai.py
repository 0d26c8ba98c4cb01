"""Read NovelAI: the texts Software, Source, Description and Comment (JSON), in chunks, in EXIF or in the alpha channel.

The text in the alpha channel, which A1111's extensions write too, is in the lowest bits of the pixels, column by column:
15 characters of signature, the length of the text in bits (32), the text, in UTF-8 or as gzip.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from core.history.importers import common
from core.storage.embedded_texts import COMMENT, DESCRIPTION, PARAMETERS, SOFTWARE
from core.types import FoundParameters

_MARKS = ("noise_schedule", "uncond_scale", "v4_prompt", "signed_hash", "request_type")
_USED = ("prompt", "uc", "steps", "scale", "seed", "width", "height", "v4_prompt", "v4_negative_prompt")


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return what NovelAI's JSON says; None when the file is not from there."""
    software = texts.get(SOFTWARE, "")
    for name in (COMMENT, PARAMETERS, "UserComment"):
        data = common.parsed(texts.get(name))
        if data is None:
            continue
        outer = data
        inner = data.get(COMMENT)
        if isinstance(inner, str | dict):  # the whole set of texts as one JSON object
            data = common.parsed(inner) if isinstance(inner, str) else inner
            software = software or str(outer.get(SOFTWARE, ""))
        if data is not None and (software.startswith("NovelAI") or any(mark in data for mark in _MARKS)):
            outside = {key: value for key, value in {**outer, **texts}.items() if isinstance(value, str)}
            return _found(data, outside)
    if software.startswith("NovelAI"):
        raw = {"prompt": texts.get(DESCRIPTION), "model": texts.get("Source")}
        return common.found("NovelAI", raw, {"Source": texts.get("Source")})
    return None


def _found(data: Mapping[str, Any], texts: Mapping[str, str]) -> FoundParameters:
    captions = {key: _captions(data.get(key)) for key in ("v4_prompt", "v4_negative_prompt")}
    prompt, characters = captions["v4_prompt"]
    negative, negative_characters = captions["v4_negative_prompt"]
    raw = {
        "prompt": common.first_of(data, "prompt") or prompt or texts.get(DESCRIPTION),
        "negative_prompt": common.first_of(data, "uc", "negative_prompt") or negative or "",
        "steps": data.get("steps"),
        "cfg_scale": data.get("scale"),
        "seed": data.get("seed"),
        "sampler": data.get("sampler"),
        "model": texts.get("Source") or None,
        "width": data.get("width"),
        "height": data.get("height"),
    }
    rest = {"Source": texts.get("Source"), **common.without(data, *_USED)}
    rest |= {"character prompts": characters, "negative character prompts": negative_characters}
    return common.found("NovelAI", raw, {name: value for name, value in rest.items() if value})


def _captions(data: Any) -> tuple[str | None, list[str]]:
    """Return the base caption and those of the characters of a version 4 prompt."""
    caption = data.get("caption") if isinstance(data, dict) else None
    if not isinstance(caption, dict):
        return None, []
    base = caption.get("base_caption")
    listed = caption.get("char_captions")
    characters = (
        [entry.get("char_caption") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    )
    return base if isinstance(base, str) else None, [text for text in characters if isinstance(text, str) and text]


log = logging.getLogger(__name__)

MAX_TEXT = 8 << 20  # bytes, after decompression
_SIGNATURE = 15  # bytes
_SIGNATURES = {b"stealth_pnginfo": False, b"stealth_pngcomp": True, b"stealth_rgbinfo": False, b"stealth_rgbcomp": True}


def read_stealth(source: Path | IO[bytes], max_pixels: int) -> str | None:
    """Return the hidden text of a lossless image; None where there is none, or the image has more than `max_pixels`."""
    try:
        with Image.open(source) as image:
            if image.width * image.height > max_pixels or image.format not in ("PNG", "WEBP"):
                return None
            if image.mode == "RGBA":
                pixels = np.asarray(image)
                planes = [pixels[:, :, 3], pixels[:, :, :3]]
            elif image.mode == "RGB":
                planes = [np.asarray(image)]
            else:
                return None
    except Exception as error:  # Pillow raises many kinds on damaged files
        log.debug("%s is not read: %s", source, error)
        return None
    return next((text for plane in planes if (text := _hidden(plane)) is not None), None)


def _hidden(plane: np.ndarray) -> str | None:
    """Return the text in the lowest bits of (height, width) or (height, width, 3) values."""
    head = _bytes(plane, 0, _SIGNATURE + 4)
    compressed = _SIGNATURES.get(head[:_SIGNATURE])
    if compressed is None:
        return None
    length = int.from_bytes(head[_SIGNATURE:], "big") // 8
    if not 0 < length <= plane.size // 8:
        return None
    data = _bytes(plane, _SIGNATURE + 4, length)
    if compressed:
        decoder = zlib.decompressobj(wbits=47)  # gzip or zlib
        try:
            data = decoder.decompress(data, MAX_TEXT)
        except zlib.error:
            return None
    return data[:MAX_TEXT].decode("utf-8", "replace")


def _bytes(plane: np.ndarray, start: int, count: int) -> bytes:
    """Return `count` bytes from byte `start` on, of the bits in column order. Only the columns that hold them are copied."""
    height, values = plane.shape[0], plane.size // (plane.shape[0] * plane.shape[1])
    per_column = height * values
    first, last = start * 8, (start + count) * 8
    columns = plane[:, first // per_column : -(-last // per_column)]
    bits = np.swapaxes(columns, 0, 1).reshape(-1) & 1
    offset = first % per_column
    return np.packbits(bits[offset : offset + count * 8].astype(np.uint8)).tobytes()
