"""Make control images by OpenCV: edges, lines, scribbles, tiles, inverted drawings; depth and poses by a model. Without torch.

Maps are as ControlNets were trained on them: white lines on black, near parts white, skeletons in OpenPose's colors.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from core.config import control_units
from core.config.control_units import ControlUnit
from core.errors import ControlNetError
from core.i18n import localize
from core.inference.pose import pose_map
from core.models.controlnet_library import DepthLibrary, PoseLibrary

SCRIBBLE_SIDE = 512  # px: the size at which a scribble's lines are SCRIBBLE_WIDTH wide
SCRIBBLE_WIDTH = 5  # px
WAIT_SECONDS = 300  # for the process that makes a depth map: it reads the model on a slow disk


class Estimator(Protocol):
    """What makes a map of an image (RGB) by a model: the same size. `kind` is DEPTH or POSE."""

    def __call__(self, image: Image.Image, kind: str) -> Image.Image: ...


def control_map(image: Image.Image, unit: ControlUnit, estimate: Estimator) -> Image.Image:
    """Return what a unit's ControlNet sees of an image (RGB) that has the size that is rendered.

    Raises ControlNetError for depth and poses without their model, and for an image without a person.
    """
    match unit.preprocessor:
        case control_units.CANNY:
            return canny(image, unit.low, unit.high)
        case control_units.DEPTH | control_units.POSE:
            return estimate(image, unit.preprocessor)
        case control_units.LINEART:
            return lineart(image)
        case control_units.SCRIBBLE:
            return scribble(image)
        case control_units.TILE:
            return tile(image, unit.rate)
        case control_units.INVERT:
            return ImageOps.invert(image)
        case _:
            return image


def canny(image: Image.Image, low: int, high: int) -> Image.Image:
    """Detect edges by Canny's method: white lines of one pixel on black, RGB, of an RGB image.

    Where brightness changes by more than `high` a line begins, and it goes on as long as it changes by more than `low`.
    """
    import cv2  # here, not above: a page that shows no control image need not wait for it

    edges = cv2.Canny(np.asarray(image), low, high)
    return Image.fromarray(edges).convert("RGB")


def lineart(image: Image.Image) -> Image.Image:
    """Return soft white lines on black: the steepness of the smoothed image, of whichever colour channel changes most.

    The steepest hundredth is white, but no noise becomes a line in an image without edges.
    """
    import cv2  # as in `canny`

    smooth = cv2.bilateralFilter(np.asarray(image), 7, 40, 3).astype(np.float32)
    across, down = cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    steep = np.hypot(across, down).max(axis=-1) / 16  # the kernel's positive weights: levels per pixel
    white = max(float(np.percentile(steep, 99)), 24.0)
    lines = np.clip(steep / white, 0, 1) ** 0.8
    return Image.fromarray((255 * lines).round().astype(np.uint8)).convert("RGB")


def scribble(image: Image.Image) -> Image.Image:
    """Return a scribble map: thick white lines on black, the widened edges of the blurred image."""
    import cv2  # as in `canny`

    scale = max(image.size) / SCRIBBLE_SIDE
    blurred = cv2.GaussianBlur(np.asarray(image), (0, 0), max(1.0, 2.5 * scale))
    edges = cv2.Canny(blurred, 20, 50)
    width = max(3, round(SCRIBBLE_WIDTH * scale) | 1)
    thick = cv2.dilate(edges, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    return Image.fromarray(thick).convert("RGB")


def tile(image: Image.Image, rate: float) -> Image.Image:
    """Return the image without its details: reduced `rate` times and enlarged again; at 1 as it is."""
    if rate == 1:
        return image
    small = (max(1, round(image.width / rate)), max(1, round(image.height / rate)))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


def estimator_of_pages(depths: DepthLibrary, poses: PoseLibrary) -> Estimator:
    """Return what makes maps for a page: depth in a process of its own, which gives the model's memory back.

    It raises ControlNetError when there is no model, or it can't be used.
    """

    def make(image: Image.Image, kind: str) -> Image.Image:
        if kind == control_units.POSE:
            return pose_map(image, poses.find())
        folder = depths.find()
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        command = [sys.executable, "-m", "core.inference.depth_map", str(folder)]
        try:
            done = subprocess.run(
                command, input=buffer.getvalue(), capture_output=True, timeout=WAIT_SECONDS, cwd=_ROOT, check=False
            )
        except subprocess.TimeoutExpired as late:
            raise _failed(folder, f"{WAIT_SECONDS} s") from late
        if done.returncode:
            raise _failed(folder, done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
        return Image.open(io.BytesIO(done.stdout)).convert("RGB")

    return make


def _failed(folder: Path, detail: str) -> ControlNetError:
    return ControlNetError(name=folder.name, problem=localize("inference.control_maps.failed", detail=detail[:200]))


_ROOT = Path(__file__).parents[2]
