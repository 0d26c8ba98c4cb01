"""Find people's poses with an ONNX file of the YOLO-pose kind through OpenCV, and draw them as ControlNets know them.

The file is the user's own, such as an export of yolo11n-pose: output (1, 56, boxes), of which each column is a box (4), its score
and 17 key points of COCO as x, y and how sure they are. The skeleton has OpenPose's 18 points and colors: its neck is the middle
of the shoulders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from core.errors import ControlNetError
from core.i18n import localize
from core.inference.detection import OVERLAP, run

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
        raise _refused(file, localize("inference.pose.no_pose_model")) from error
    except Exception as error:  # OpenCV raises cv2.error, which is one, for all that it does not read
        raise _refused(file, localize("inference.pose.failed", detail=" ".join(str(error).split())[:200])) from error
    people = list(_people(rows.T, scale, corner))
    if not people:
        raise _refused(file, localize("inference.pose.nobody"))
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
