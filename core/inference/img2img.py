"""Prepare what one pass of the model starts from: noise alone, an image (img2img), or an image within a mask (inpaint).

An input image is scaled to cover the requested size and cropped from the centre; where the model renders a little more than
was requested, its edge is repeated, and cropped again at the end. So what is not changed stays in its place. Without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image, ImageOps

from core.errors import InputCombinationError
from core.i18n import localize
from core.types import CONTROLS, IMAGE, MASK, REFERENCES

Size = tuple[int, int]  # width, height in pixels
Inputs = Mapping[str, Image.Image]  # RGB images by role, of any size
HALF = 128  # of a mask: the pipelines repaint from here on


@dataclass(frozen=True)
class Canvas:
    """`size` is what the model renders. `image` (RGB) and `mask` (L; white is repainted) have that size; `inputs` are as given.

    `strength` is the denoising strength (0 to 1); without an image it has no meaning.
    """

    size: Size
    image: Image.Image | None = None
    mask: Image.Image | None = None
    strength: float = 1.0
    inputs: Inputs = field(default_factory=dict)
    controls: Inputs = field(default_factory=dict)  # what control images are made from, by role, RGB, of that size
    maps: tuple[Image.Image, ...] = ()  # the control images themselves, one for each ControlNet

    @property
    def edit_images(self) -> list[Image.Image]:
        """Return the images of an edit: the source as it is laid into the size, further ones as they are; [] without a source."""
        if self.image is None:
            return []
        return [self.image, *(self.inputs[role] for role in REFERENCES if role in self.inputs)]

    def with_maps(self, maps: tuple[Image.Image, ...]) -> Canvas:
        """Return the canvas with these control images."""
        return replace(self, maps=maps)


def prepare(inputs: Inputs, asked: Size, size: Size, resize: bool, strength: float) -> Canvas:
    """Return the canvas of `size` for an image requested at `asked`; with `resize` the two are of different scale.

    Raises InputCombinationError for a mask without any white.
    """
    controls = {role: laid(inputs[role], asked, size, resize) for role in CONTROLS if role in inputs}
    if IMAGE not in inputs:
        return Canvas(size, inputs=inputs, controls=controls)
    image = laid(inputs[IMAGE], asked, size, resize)
    mask = laid(mask_of(inputs, asked), asked, size, resize) if MASK in inputs else None
    return Canvas(size, image, mask, strength, inputs, controls)


def required(inputs: Inputs) -> Image.Image:
    """Return the source image. Raises InputCombinationError without one."""
    if IMAGE not in inputs:
        raise InputCombinationError(role=IMAGE, problem=_NO_SOURCE)
    return inputs[IMAGE]


def laid(image: Image.Image, asked: Size, size: Size, resize: bool) -> Image.Image:
    """Bring an input image to what is rendered at `size`, when `asked` is the requested size."""
    return (fitted if resize else _spread)(fitted(image, asked), size)


def fitted(image: Image.Image, asked: Size) -> Image.Image:
    """Scale to cover `asked`, then crop from the centre; one of that size as it is."""
    return image if image.size == asked else ImageOps.fit(image, asked, method=Image.Resampling.LANCZOS)


def mask_of(inputs: Inputs, asked: Size) -> Image.Image:
    """Return the mask (L) for an image of `asked`. Raises InputCombinationError when it is black everywhere."""
    mask = fitted(inputs[MASK].convert("L"), asked)
    if int(np.asarray(mask).max()) < HALF:
        raise InputCombinationError(role=MASK, problem=_BLACK)
    return mask


def _spread(image: Image.Image, size: Size) -> Image.Image:
    """Centre `image` in a `size` that is no smaller, its edge repeated around it; `deliver` crops it out again."""
    if image.size == size:
        return image
    left, top = (size[0] - image.width) // 2, (size[1] - image.height) // 2
    around = ((top, size[1] - image.height - top), (left, size[0] - image.width - left))
    pixels = np.asarray(image)
    return Image.fromarray(np.pad(pixels, around + ((0, 0),) * (pixels.ndim - 2), mode="edge"))


_NO_SOURCE = localize("inference.img2img.no_source")
_BLACK = localize("inference.img2img.black")
