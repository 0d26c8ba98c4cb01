"""Compare two images: metrics and a heat map."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import ImageTooLargeError, StorageError
from core.storage.pixel_budget import decoding
from core.types import Difference


def compare(one: Path, other: Path) -> Difference:
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


def heat_map(one: Path, other: Path) -> bytes:
    """Return a PNG: black where equal, over red and yellow to white where different. Raises as `compare`."""
    first, second = _pixels(one), _pixels(other)
    if first.shape != second.shape:
        raise StorageError(path=other, detail="the pictures have different sizes")
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
