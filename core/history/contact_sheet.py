"""Compose contact sheets: images in rows and columns with their labels, as one image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from core.errors import ImageTooLargeError
from core.storage.image_containers import decoding

CELL, MARGIN, LABEL, LABEL_WIDTH, LEAST_WIDTH, FONT = 320, 8, 30, 110, 560, 16  # px
LINE = 20  # px: from one line of a label to the next
MOST_LINES = 6  # of a label
GROUND, INK = (250, 248, 245), (38, 33, 28)
# What Pillow's own font lacks is in one of these, where the system has it: Linux, Windows, macOS.
WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "SourceHanSansCN-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf", "msyh.ttc", "simhei.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc", "STHeiti Light.ttc",
)  # fmt: skip


def draw(
    images: Sequence[Path | None],
    across: Sequence[str],
    down: Sequence[str],
    head: Sequence[str],
    label_width: int = LABEL_WIDTH,
    least_width: int = 0,
) -> Image.Image:
    """Draw `images` row by row, None for an empty cell, with labels for columns and rows and `head` lines above.

    A label may have several lines and is wrapped; a column is at least `least_width` px wide. Without labels for the rows
    (one empty text) their column is left out.
    """
    small = [_small(path) for path in images]
    width, height = (max((image.size[k] for image in small if image), default=CELL) for k in (0, 1))
    width = max(width, least_width)
    left = label_width if any(down) else MARGIN
    columns = [_wrapped(label, width) for label in across]
    top = (len(head) + 1) * LABEL + (max(map(len, columns)) - 1) * LINE
    size = (
        max(LEAST_WIDTH, left + len(across) * (width + MARGIN)),
        top + len(down) * (height + MARGIN),
    )
    page = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(page)
    for k, line in enumerate(head):
        _write(pen, (MARGIN, 6 + k * LABEL), [line])
    for k, lines in enumerate(columns):
        _write(pen, (left + k * (width + MARGIN), len(head) * LABEL + 4), lines)
    for k, label in enumerate(down):
        _write(pen, (MARGIN, top + k * (height + MARGIN)), _wrapped(label, left - 2 * MARGIN))
    for place, image in enumerate(small):
        corner = (left + place % len(across) * (width + MARGIN), top + place // len(across) * (height + MARGIN))
        if image is None:
            pen.rectangle((*corner, corner[0] + width - 1, corner[1] + height - 1), outline=INK)
        else:
            page.paste(image, corner)
    return page


def readable(text: str) -> bool:
    """Return whether this machine has a font for `text`: Pillow's own knows Latin letters only."""
    return not _is_wide(text) or _wide_font() is not None


def _is_wide(text: str) -> bool:
    return any(ord(letter) > 0x24F and letter not in "·–—…×" for letter in text)


def _font(text: str) -> Any:
    wide = _wide_font() if _is_wide(text) else None
    return wide or ImageFont.load_default(FONT)


@cache
def _wide_font() -> Any:
    for name in WIDE_FONTS:
        try:
            return ImageFont.truetype(name, FONT)
        except OSError:
            continue
    return None


def _write(pen: ImageDraw.ImageDraw, corner: tuple[int, int], lines: Sequence[str]) -> None:
    for k, line in enumerate(lines):
        pen.text((corner[0], corner[1] + k * LINE), line, INK, _font(line))


def _wrapped(label: str, width: int) -> list[str]:
    """Return the lines of a label, none wider than `width`; what is too much ends with an ellipsis."""
    lines: list[str] = []
    for part in label.split("\n"):
        line = ""
        for word in _words(part):
            while line and _font(part).getlength(line + word.rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            line += word.lstrip() if not line else word
        lines.append(line.rstrip())
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1]} …"]


def _words(text: str) -> list[str]:
    """Return the parts between which a line may break: words, and each letter of a script without spaces."""
    found: list[str] = [""]
    for letter in text:
        found[-1] += letter
        if letter == " " or _is_wide(letter) or len(found[-1]) > 30:
            found.append("")
    return found


def _small(path: Path | None) -> Image.Image | None:
    """Return a cell's image; None where it was not made, or its file is gone or damaged."""
    if path is None:
        return None
    try:
        with decoding(path, path.name) as image:
            small = image.convert("RGB")
    except (ImageTooLargeError, OSError, ValueError, SyntaxError):
        return None
    small.thumbnail((CELL, CELL))
    return small
