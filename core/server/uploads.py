"""Read images as programs send them, as base64 with or without a data URL, and lay them over a size as A1111 does."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path

from PIL import Image, ImageOps

from core.errors import OptionError
from core.i18n import localize
from core.server.submission import SOURCE
from core.storage.input_images import MAX_SIDE

_ALLOWED = localize("server.uploads.allowed")
_NO_ADDRESS = localize("server.uploads.no_address")


def from_base64(text: str, key: str) -> bytes:
    """Return the bytes of an image, with or without "data:image/png;base64," before them. OptionError naming `key`.

    Line breaks, spaces, the URL-safe alphabet and missing padding are read as well.
    """
    if text[:8].lower().startswith(("http://", "https://")):
        raise OptionError(source=SOURCE, key=key, value=text[:60], allowed=_NO_ADDRESS)
    data = "".join(text.rpartition(",")[2].split()).rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise OptionError(source=SOURCE, key=key, value=text[:20], allowed=_ALLOWED) from None


def fitted(path: Path, size: tuple[int, int], mode: int) -> bytes | None:
    """Return the image file laid over `size` (width, height) by A1111's resize mode, as PNG; None where nothing changes.

    0 stretches it, 2 fits it in and repeats its edges around it. 1 (cover, then cut from the centre) is what the models do
    themselves.
    """
    with Image.open(path) as stored:
        same_ratio = stored.width * size[1] == stored.height * size[0]
        if same_ratio or mode == 1 or min(size) < 1 or max(size) > MAX_SIDE:
            return None
        image = stored.convert("RGB")
    if mode == 2:
        inside = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
        laid = inside.resize(size)
        left, top = (size[0] - inside.width) // 2, (size[1] - inside.height) // 2
        if left or inside.width < size[0]:
            laid = _edges(inside, size, left, across=True)
        elif top or inside.height < size[1]:
            laid = _edges(inside, size, top, across=False)
        laid.paste(inside, (left, top))
    else:
        laid = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    laid.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _edges(image: Image.Image, size: tuple[int, int], first: int, across: bool) -> Image.Image:
    """Return an image of `size` filled with the outermost columns (`across`) or rows of `image`."""
    filled = Image.new("RGB", size)
    width, height = image.size
    if across:
        filled.paste(image.crop((0, 0, 1, height)).resize((max(first, 1), size[1])), (0, 0))
        filled.paste(image.crop((width - 1, 0, width, height)).resize((size[0] - first, size[1])), (first, 0))
    else:
        filled.paste(image.crop((0, 0, width, 1)).resize((size[0], max(first, 1))), (0, 0))
        filled.paste(image.crop((0, height - 1, width, height)).resize((size[0], size[1] - first)), (0, first))
    return filled
