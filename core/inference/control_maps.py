"""Make control images by OpenCV: edges, lines, scribbles, tiles, inverted drawings; depth and poses by a model. Without torch.

Maps are as ControlNets were trained on them: white lines on black, near parts white, skeletons in OpenPose's colors.

Poses are found with an ONNX file of the YOLO-pose kind through OpenCV. The file is the user's own, such as an export of
yolo11n-pose: output (1, 56, boxes), of which each column is a box (4), its score and 17 key points of COCO as x, y and how sure
they are. The skeleton has OpenPose's 18 points and colors: its neck is the middle of the shoulders.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from core.config import control_units
from core.config.control_units import ControlUnit
from core.errors import ControlNetError
from core.i18n import localize
from core.inference.detection import OVERLAP, run
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
        command = [sys.executable, "-m", "core.inference.control_networks", str(folder)]
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


POINTS = 17  # of COCO
SURE_BOX, SURE_POINT = 0.4, 0.4  # the least score of a person, and of a point that is drawn
STICK = 4 / 512  # half the width of a limb, as a share of the image's shorter side, as the training images have it
_COCO = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)  # OpenPose's points in COCO's; None is the neck
_SHOULDERS = (5, 6)
_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16),
    (0, 15), (15, 17),
)  # fmt: skip
_COLORS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85), (0, 255, 170),
    (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170),
    (255, 0, 85),
)  # fmt: skip
_LIMB_SHARE = 0.6  # of a color's brightness, in limbs; points have all of it

Skeleton = Sequence[tuple[float, float] | None]  # OpenPose's 18 points in pixels


def pose_map(image: Image.Image, file: Path) -> Image.Image:
    """Return the skeletons (RGB, on black) of the people in an image (RGB), of its size.

    Raises ControlNetError for a file that can't be used, and an image in which nobody is found.
    """
    try:
        outputs, scale, corner = run(image, file)
        rows = next(output[0] for output in outputs if output.ndim == 3 and output.shape[1] == 5 + 3 * POINTS)
    except StopIteration as error:
        raise _refused(file, localize("inference.control_maps.no_pose_model")) from error
    except Exception as error:  # OpenCV raises cv2.error, which is one, for all that it does not read
        raise _refused(file, localize("inference.control_maps.pose_failed", detail=" ".join(str(error).split())[:200])) from error
    people = list(_people(rows.T, scale, corner))
    if not people:
        raise _refused(file, localize("inference.control_maps.nobody"))
    return drawn(people, image.size)


def _people(rows: np.ndarray, scale: float, corner: tuple[int, int]) -> Iterator[Skeleton]:
    """Yield each person once, of rows (n, 5 + 3 x POINTS) in pixels of the network's input."""
    import cv2  # here, not above: a page that shows no pose need not wait for it

    corners = np.column_stack((rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4])).astype(np.float32)
    kept = cv2.dnn.NMSBoxes(corners.tolist(), rows[:, 4].astype(np.float32).tolist(), SURE_BOX, OVERLAP)
    for index in np.asarray(kept, int).reshape(-1):
        points = rows[index, 5:].reshape(POINTS, 3)
        placed = (points[:, :2] - corner) / scale
        yield _skeleton([(x, y) if sure >= SURE_POINT else None for (x, y), sure in zip(placed, points[:, 2], strict=True)])


def _skeleton(coco: Sequence[tuple[float, float] | None]) -> Skeleton:
    left, right = (coco[index] for index in _SHOULDERS)
    neck = None if left is None or right is None else ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
    return [neck if index is None else coco[index] for index in _COCO]


def drawn(people: Sequence[Skeleton], size: tuple[int, int]) -> Image.Image:
    """Return the skeletons on black: limbs as ellipses, points as discs, each in its color."""
    import cv2  # as in `_people`

    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    width = max(1, round(STICK * min(size)))
    for points in people:
        for (one, other), color in zip(_LIMBS, _COLORS, strict=False):
            first, last = points[one], points[other]
            if first is None or last is None:
                continue
            along = (last[0] - first[0], last[1] - first[1])
            middle = (round((first[0] + last[0]) / 2), round((first[1] + last[1]) / 2))
            half, angle = round(np.hypot(*along) / 2), float(np.degrees(np.arctan2(along[1], along[0])))
            dark = tuple(int(level * _LIMB_SHARE) for level in color)
            cv2.ellipse(canvas, middle, (half, width), angle, 0, 360, dark, -1)
        for point, color in zip(points, _COLORS, strict=True):
            if point is not None:
                cv2.circle(canvas, (round(point[0]), round(point[1])), width, color, -1)
    return Image.fromarray(canvas)


def _refused(file: Path, problem: dict[str, str]) -> ControlNetError:
    return ControlNetError(name=file.name, problem=problem)
