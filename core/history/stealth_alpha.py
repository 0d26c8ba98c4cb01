"""Read text that NovelAI and A1111's extensions hide in the lowest bits of pixels, for files that lost their text chunks.

The bits run column by column: 15 characters of signature, the length of the text in bits (32), the text, in UTF-8 or as gzip.
"""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

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
