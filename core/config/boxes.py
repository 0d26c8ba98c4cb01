"""Read and write boxes of an image as ImageMagick does: "WIDTHxHEIGHT+X+Y" in pixels from the top left corner."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import OptionError
from core.i18n import localize

KEY = "inpaint.boxes"
MOST = 32  # of one image
SMALLEST = 8  # px of a side
_BOX = re.compile(r"(\d{1,5})x(\d{1,5})\+(\d{1,5})\+(\d{1,5})")


@dataclass(frozen=True)
class Box:
    """A rectangle of an image in pixels; `right` and `bottom` lie just outside of it, as in Pillow."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Return width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Return height in pixels."""
        return self.bottom - self.top

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Return it as Pillow's methods take it."""
        return self.left, self.top, self.right, self.bottom

    def __str__(self) -> str:
        return f"{self.width}x{self.height}+{self.left}+{self.top}"


def read_boxes(texts: Sequence[str], source: str) -> tuple[Box, ...]:
    """Return the boxes. OptionError for a text that is none, for one that is too small, and for more than MOST."""
    if len(texts) > MOST:
        raise OptionError(source=source, key=KEY, value=len(texts), allowed=_MOST)
    return tuple(_read(text, source) for text in texts)


def check_boxes(texts: Sequence[str], size: tuple[int, int], source: str) -> None:
    """Raise OptionError for a box that does not lie within an image of `size`."""
    for box in read_boxes(texts, source):
        if box.right > size[0] or box.bottom > size[1]:
            allowed = localize("config.boxes.inside", width=size[0], height=size[1])
            raise OptionError(source=source, key=KEY, value=str(box), allowed=allowed)


def _read(text: str, source: str) -> Box:
    found = _BOX.fullmatch(text.replace(" ", "").lower())
    width, height, left, top = map(int, found.groups()) if found else (0, 0, 0, 0)
    if min(width, height) < SMALLEST:
        raise OptionError(source=source, key=KEY, value=text[:60], allowed=_ALLOWED)
    return Box(left, top, left + width, top + height)


_ALLOWED = localize("config.boxes.allowed", smallest=SMALLEST)
_MOST = localize("config.boxes.most", most=MOST)
