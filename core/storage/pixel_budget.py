"""Decide from the header of an image file whether it may be decoded, and how many are decoded at once.

One budget for every way in: input images, imports, thumbnails, masks, control images. It follows from `service.max_pixels`, so that
who allows larger images may also use them. A small file can hold a huge image: only its header is read before this check.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image

from core.config.options import SCHEMA
from core.errors import ImageTooLargeError

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
