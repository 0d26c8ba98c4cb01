"""Convert the requested size to the size that is generated, and back to a file of exactly the requested size."""

from __future__ import annotations

import math
from dataclasses import replace

from PIL import Image, ImageOps

from core.config.options import SCHEMA
from core.types import GenerationRequest, ModelInfo

ROOM = 1.5  # img2img keeps a source image of at most this many times the model's own pixels
SMALLEST_SIDE = 64  # px; below it the model has fewer than 4 tokens on a side


def check_sides(width: int, height: int, max_side: int, source: str) -> None:
    """Raise OptionError where a side is longer than the model's table of positions, or no size at all.

    Asked before any computing: beyond its table a GPU's own assertion would take the whole process down.
    """
    for key, side in (("width", width), ("height", height)):
        replace(SCHEMA.options[f"generation.{key}"], maximum=max_side, auto=False).check(side, source)


def rendered_size(width: int, height: int, multiple: int, native_pixels: int | None, max_side: int) -> tuple[int, int]:
    """Return the size that the model renders, in pixels: multiples of `multiple`.

    With `native_pixels` None: the next multiple at or above each side. Otherwise about that many pixels in the same ratio.
    """
    if native_pixels is None:
        return _up(width, multiple), _up(height, multiple)
    scale = math.sqrt(native_pixels / (width * height))
    return _nearest(width * scale, multiple, max_side), _nearest(height * scale, multiple, max_side)


def size_to_render(info: ModelInfo, request: GenerationRequest) -> tuple[int, int]:
    """Return width and height that the model renders for this request, before cropping or resizing."""
    native = None if request.options["force_original_resolution"] else info.default_width * info.default_height
    return rendered_size(request.width, request.height, info.size_multiple, native, info.max_side)


def fitting_size(image: tuple[int, int], native_pixels: int, multiple: int, max_side: int) -> tuple[int, int]:
    """Return the size for img2img: that of the source image, or, where that is far from what the model renders, its
    ratio in about `native_pixels`."""
    width, height = image
    own = width * height <= ROOM * native_pixels and min(image) >= SMALLEST_SIDE and max(image) <= max_side
    return image if own else rendered_size(width, height, multiple, native_pixels, max_side)


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _nearest(side: float, multiple: int, max_side: int) -> int:
    return min(max_side, max(SMALLEST_SIDE, round(side / multiple) * multiple))


def deliver(image: Image.Image, width: int, height: int, resize: bool) -> Image.Image:
    """Return the image at exactly `width` x `height`: center-cropped, or (with `resize`) scaled to cover, then cropped."""
    if image.size == (width, height):
        return image
    if resize:
        return ImageOps.fit(image, (width, height), method=Image.Resampling.LANCZOS)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
