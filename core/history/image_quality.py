"""Measure a finished image (sharpness, clipped pixels, too dark, of one colour, without colour, with a cast), and compare two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import ImageTooLargeError, StorageError
from core.storage.image_containers import decoding
from core.types import Difference

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


def compare_images(one: Path, other: Path) -> Difference:
    """Return the figures over all channels, in steps of 8 bits. Raises StorageError when a file can't be read."""
    first, second = _pixels(one), _pixels(other)
    if first.shape != second.shape:
        return Difference(same_size=False)
    gap = np.abs(first - second)
    square = float(np.mean(gap.astype(np.float64) ** 2))
    return Difference(
        same_size=True,
        largest=int(gap.max()),
        mean=float(gap.mean()),
        changed=float(np.mean(gap.max(axis=2) > 0)),
        psnr=math.inf if square == 0 else 10 * math.log10(255**2 / square),
    )


def distance(one: Path, other: Path) -> float:
    """Return the mean absolute difference of all channels, 0 to 255; the larger of two sizes is scaled to the smaller.

    Raises StorageError when a file can't be read.
    """
    first, second = _pixels(one), _pixels(other)
    height, width = (min(sides) for sides in zip(first.shape[:2], second.shape[:2], strict=True))
    return float(np.abs(_scaled(first, width, height) - _scaled(second, width, height)).mean())


def _scaled(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels.astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS), dtype=np.int16)


def heat_map(one: Path, other: Path) -> bytes:
    """Return a PNG: black where equal, over red and yellow to white where different. Raises as `compare`."""
    first, second = _pixels(one), _pixels(other)
    if first.shape != second.shape:
        raise StorageError(path=other, detail="the images have different sizes")
    gap = np.abs(first - second).max(axis=2).astype(np.float32)
    heat = gap / max(1.0, float(gap.max())) * 3
    channels = [np.clip(heat - k, 0, 1) for k in range(3)]
    buffer = BytesIO()
    Image.fromarray((np.stack(channels, axis=2) * 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _pixels(path: Path) -> np.ndarray:
    try:
        with decoding(path, path.name) as image:
            return np.asarray(image.convert("RGB"), dtype=np.int16)
    except (ImageTooLargeError, OSError, ValueError, SyntaxError) as error:  # Pillow's for a damaged file
        raise StorageError(path=path, detail=f"it cannot be read: {error}") from error
