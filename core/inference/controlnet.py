"""Make the control image that a ControlNet follows, and the arguments of the pipeline for it. Without torch.

A page shows the control image before anything is queued.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from core.config.schema import AUTO
from core.errors import InputCombinationError, OptionError
from core.i18n import localize
from core.inference.img2img import Canvas
from core.models.families.base import ControlNetUse
from core.types import CONTROL

CANNY = "canny"
MISSING = localize("inference.controlnet.missing")


def check_control(options: Mapping[str, Any], source: str) -> None:
    """Raise OptionError where two options of the control image contradict each other."""
    low, high = options["controlnet.canny_low"], options["controlnet.canny_high"]
    if options["controlnet.preprocessor"] == CANNY and low > high:
        raise OptionError(
            source=source, key="controlnet.canny_low", value=low, allowed=f"0 - {high} (controlnet.canny_high)"
        )
    start, end = options["controlnet.start"], options["controlnet.end"]
    if start >= end:
        raise OptionError(source=source, key="controlnet.start", value=start, allowed=f"0 - {end:g}, < controlnet.end")


def control_image(image: Image.Image, options: Mapping[str, Any]) -> Image.Image:
    """Return what the ControlNet sees of an image (RGB) of the size that is rendered: its edges, or the image itself."""
    if options["controlnet.preprocessor"] != CANNY:
        return image
    return canny(image, options["controlnet.canny_low"], options["controlnet.canny_high"])


def canny(image: Image.Image, low: int, high: int) -> Image.Image:
    """Detect edges by Canny's method: white lines of one pixel on black, RGB, of an RGB image.

    Where brightness changes by more than `high` a line begins, and it goes on as long as it changes by more than `low`.
    """
    import cv2  # here, not above: a page that shows no control image need not wait for it

    edges = cv2.Canny(np.asarray(image), low, high)
    return Image.fromarray(edges).convert("RGB")


def scale(use: ControlNetUse, options: Mapping[str, Any]) -> float:
    """Return `controlnet.scale`, or the pipeline's own default."""
    wanted = options["controlnet.scale"]
    return use.scale if wanted == AUTO else float(wanted)


def arguments(use: ControlNetUse | None, options: Mapping[str, Any], canvas: Canvas) -> dict[str, Any]:
    """Return the arguments for the ControlNet, none without one. Raises InputCombinationError without a control image."""
    if use is None:
        return {}
    if canvas.control is None:
        raise InputCombinationError(role=CONTROL, problem=MISSING)
    image = control_image(canvas.control, options)
    argument = use.argument if canvas.image is None else use.over
    found = {argument: image, "controlnet_conditioning_scale": scale(use, options)}
    if use.window:
        found |= {
            "control_guidance_start": options["controlnet.start"],
            "control_guidance_end": options["controlnet.end"],
        }
    return found


def effective(use: ControlNetUse | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return for the record what was left open."""
    return {} if use is None else {"controlnet.scale": scale(use, options)}
