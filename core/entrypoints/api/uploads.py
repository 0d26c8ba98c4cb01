"""Pictures as the dialects send them: as base64, as files of a form, with a mask of their own in what is transparent.

What this module does not know: what the pictures are for.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from core.entrypoints.api.orders import SOURCE
from core.errors import OptionError
from core.storage.inputs import FORMATS, MAX_SIDE


def from_base64(text: str, key: str) -> bytes:
    """The bytes of a picture, with or without "data:image/png;base64," before them. OptionError naming `key`."""
    try:
        return base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        allowed = {"en": "base64 of a picture", "zh": "图片的 base64"}
        raise OptionError(source=SOURCE, key=key, came=text[:20], allowed=allowed) from None


def inverted(stored: Path) -> bytes:
    """A kept picture with black and white exchanged."""
    with Image.open(stored) as image:
        return _png(ImageChops.invert(image.convert("RGB")))


def mask_of_alpha(data: bytes) -> bytes | None:
    """White where the picture is transparent, black elsewhere; None when it is opaque everywhere, or no picture."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if not image.has_transparency_data or max(image.size) > MAX_SIDE:
                return None
            alpha = np.asarray(image.convert("RGBA"))[..., 3]
    except Exception:  # Pillow raises many kinds on what is no picture, and keeping it will tell
        return None
    return _png(Image.fromarray(255 - alpha)) if int(alpha.min()) < 255 else None


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
