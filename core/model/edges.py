"""The control picture that a ControlNet follows: an input picture, or its outlines by Canny's method.

What this module does not know: torch, models, where the picture came from. The page draws it, too, before anything is queued.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from core.errors import OptionError

CANNY = "canny"
MISSING = {
    "en": "this model draws after a control picture, and none was given; give one, or choose the model without ControlNet",
    "zh": "此模型依照控制图绘制，但未提供；请提供控制图，或选用不带 ControlNet 的模型",
}


def check_control(options: Mapping[str, Any], source: str) -> None:
    """Raise OptionError where two options of the control picture contradict each other."""
    low, high = options["control.canny_low"], options["control.canny_high"]
    if options["control.preprocess"] == CANNY and low > high:
        raise OptionError(source=source, key="control.canny_low", came=low, allowed=f"0 - {high} (control.canny_high)")
    start, end = options["control.start"], options["control.end"]
    if start >= end:
        raise OptionError(source=source, key="control.start", came=start, allowed=f"0 - {end:g}, < control.end")


def control_picture(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """What the ControlNet sees of a picture (RGB) of the size that is drawn: its outlines, or the picture itself."""
    if options["control.preprocess"] != CANNY:
        return image
    return canny(image, options["control.canny_low"], options["control.canny_high"])


def canny(image: Image.Image, low: int, high: int) -> Image.Image:
    """White outlines of one pixel on black, RGB, of an RGB picture.

    Where brightness changes by more than `high` a line begins, and it goes on as long as it changes by more than `low`.
    """
    import cv2  # here, not above: a page that shows no control picture need not wait for it

    edges = cv2.Canny(np.asarray(image), low, high)
    return Image.fromarray(edges).convert("RGB")
