"""What a finished image looks like, in figures: how sharp, how much of it clipped; too dark, of one colour, without
colour, or with a cast.

"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

BLACK_LIGHT = 16  # of 255: in a black image all but one pixel of a hundred are darker
FLAT_RANGE = 8  # of 255: the channels of a flat image span less
GREY_CHROMA = 4.0  # of 255: mean distance from grey
CAST_SHIFT = 25.0  # of 255: how far the mean colour is from grey ...
CAST_RATIO = 3.0  # ... and how many times the spread of its colours that is: everything is tinted alike
LOOKED_AT = 256  # px: a smaller copy shows as much


@dataclass(frozen=True)
class ImageStats:
    """Pixels of the file, and the figures: `light` the 99th percentile of brightness, `span` the widest channel's range,
    `chroma` the mean distance from grey, `shift` and `spread` mean and scatter of the colours, all of 255.
    `sharpness` is the mean edge (the Laplacian of brightness, of 255) at the file's own pixels, where noise counts as
    sharp; `clipped` the share of pixels that are wholly black or white."""

    width: int
    height: int
    light: float
    span: float
    chroma: float
    shift: float
    spread: float
    sharpness: float
    clipped: float

    @property
    def fault(self) -> str | None:
        """Return black, flat, grey, cast, or None."""
        if self.light < BLACK_LIGHT:
            return "black"
        if self.span < FLAT_RANGE:
            return "flat"
        if self.chroma < GREY_CHROMA:
            return "grey"
        if self.shift > CAST_SHIFT and self.shift > CAST_RATIO * self.spread:
            return "cast"
        return None


def look(file: Path) -> ImageStats:
    """Open the file and look. OSError when it is gone or no image."""
    return _look(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=4096)  # pages ask every few seconds; a file that changed has another time
def _look(file: Path, _changed: int) -> ImageStats:
    with Image.open(file) as image:
        size = image.size
        small = image.convert("RGB")
        grey = small.convert("L")
        small.thumbnail((LOOKED_AT, LOOKED_AT), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float32).reshape(-1, 3)
    light = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    colour = pixels - pixels.mean(axis=1, keepdims=True)  # what is left of each pixel without its grey
    mean = colour.mean(axis=0)
    return ImageStats(
        *size,
        light=float(np.percentile(light, 99)),
        span=float(np.ptp(pixels, axis=0).max()),
        chroma=float(np.linalg.norm(colour, axis=1).mean()),
        shift=float(np.linalg.norm(mean)),
        spread=float(np.linalg.norm(colour - mean, axis=1).mean()),
        sharpness=_sharpness(grey),
        clipped=_clipped(grey),
    )


def _sharpness(grey: Image.Image) -> float:
    """Return the mean size of four times a pixel less its four neighbours; 0 where there are no inner pixels."""
    light = np.asarray(grey, np.int16)
    if min(light.shape) < 3:
        return 0.0
    edges = 4 * light[1:-1, 1:-1] - light[:-2, 1:-1] - light[2:, 1:-1] - light[1:-1, :-2] - light[1:-1, 2:]
    return float(np.abs(edges).mean())


def _clipped(grey: Image.Image) -> float:
    counts = grey.histogram()
    return (counts[0] + counts[255]) / sum(counts)
