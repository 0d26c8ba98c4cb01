"""What one pass of the model draws over: nothing but noise, a picture, or a picture within a mask.

An input picture is scaled to cover the size asked for and cut from the centre; where the model draws a little more than
was asked, its edge is repeated, and cut off again with the rest at the end. So what is not changed stays in its place.
What this module does not know: models, torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps

from core.errors import InputsError
from core.types import CONTROL, IMAGE, MASK

Size = tuple[int, int]  # width, height in pixels
Inputs = Mapping[str, Image.Image]  # RGB pictures by role, of any size


@dataclass(frozen=True)
class Canvas:
    """`size` is what the model draws. `image` (RGB) and `mask` (L; white is drawn anew) have that size; `inputs` are as given.

    `strength` (0 to 1) is how much of the image is drawn anew; without an image it says nothing.
    """

    size: Size
    image: Image.Image | None = None
    mask: Image.Image | None = None
    strength: float = 1.0
    inputs: Inputs = field(default_factory=dict)
    control: Image.Image | None = None  # what a control picture is made from, RGB, of that size


def prepare(inputs: Inputs, asked: Size, size: Size, resize: bool, strength: float) -> Canvas:
    """The canvas of `size` for a picture that is asked for as `asked`; with `resize` the two are of different scale.

    Raises InputsError for a mask without any white.
    """
    control = laid(inputs[CONTROL], asked, size, resize) if CONTROL in inputs else None
    if IMAGE not in inputs:
        return Canvas(size, inputs=inputs, control=control)
    image = laid(inputs[IMAGE], asked, size, resize)
    mask = laid(mask_of(inputs, asked), asked, size, resize) if MASK in inputs else None
    return Canvas(size, image, mask, strength, inputs, control)


def laid(image: Image.Image, asked: Size, size: Size, resize: bool) -> Image.Image:
    """The picture as it lies over what is drawn at `size`, when `asked` is what was asked for."""
    return (fitted if resize else _spread)(fitted(image, asked), size)


def fitted(image: Image.Image, asked: Size) -> Image.Image:
    """Scaled to cover `asked`, then cut from the centre; one of that size as it is."""
    return image if image.size == asked else ImageOps.fit(image, asked, method=Image.Resampling.LANCZOS)


def mask_of(inputs: Inputs, asked: Size) -> Image.Image:
    """The mask (L) as it lies over a picture of `asked`. Raises InputsError when it is black everywhere."""
    mask = fitted(inputs[MASK].convert("L"), asked)
    if int(np.asarray(mask).max()) < 128:  # the pipelines draw anew from the middle on
        raise InputsError(role=MASK, problem=_BLACK)
    return mask


def composed(drawn: Image.Image, inputs: Inputs) -> Image.Image:
    """What was drawn, where the mask is white, in the input picture; where it is black the pixels are the input's own."""
    if IMAGE not in inputs or MASK not in inputs:
        return drawn
    return Image.composite(drawn, fitted(inputs[IMAGE], drawn.size), mask_of(inputs, drawn.size))


def _spread(image: Image.Image, size: Size) -> Image.Image:
    """`image` in the middle of a `size` that is no smaller, where `deliver` cuts it out again, its edge repeated around it."""
    if image.size == size:
        return image
    left, top = (size[0] - image.width) // 2, (size[1] - image.height) // 2
    around = ((top, size[1] - image.height - top), (left, size[0] - image.width - left))
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, around + ((0, 0),) * (pixels.ndim - 2), mode="edge"))


_BLACK = {
    "en": "it is black everywhere, so nothing would be drawn anew; paint white where it should",
    "zh": "蒙版全黑，没有需要重绘的区域；请把要重绘的地方涂白",
}
