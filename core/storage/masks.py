"""Read a mask as programs send it: grey, or strokes on a transparent layer, of any size.

White is where the image is generated anew. A1111 takes the alpha of a mask that is not opaque (strokes are white, whatever
their colour); OpenAI's edits take what is transparent.
"""

from __future__ import annotations

from PIL import Image, ImageChops, ImageFilter

Size = tuple[int, int]  # width, height in pixels
HALF = 128  # of alpha: what is more opaque is a stroke


def has_holes(image: Image.Image) -> bool:
    """Return True for an image that is not opaque everywhere."""
    return image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def read_mask(
    image: Image.Image, size: Size, transparent: bool = False, invert: bool = False, blur: float = 0.0
) -> Image.Image:
    """Return the mask (L, `size`), white where the image is generated anew.

    `transparent` takes what is transparent for white, as OpenAI does, else the strokes are white. `invert` exchanges black
    and white; `blur` is the standard deviation of a Gaussian blur in pixels of `size`.
    """
    if has_holes(image):
        alpha = image.convert("RGBA").getchannel("A")
        mask = ImageChops.invert(alpha) if transparent else alpha.point(lambda value: 255 * (value > HALF))
    else:
        mask = image.convert("L")
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.LANCZOS)
    if invert:
        mask = ImageChops.invert(mask)
    return mask.filter(ImageFilter.GaussianBlur(blur)) if blur > 0 else mask
