"""Find faces, hands and other things in an image with an ONNX detector of the YOLO kind, through OpenCV. Without torch.

Files are the user's own, in the folder `detectors` of the models' folder. Outputs are those of YOLOv8 and its followers,
(1, 4 + classes, boxes), also with masks, and of YOLOv5, (1, boxes, 5 + classes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.config.boxes import MOST, SMALLEST, Box
from core.errors import OptionError
from core.i18n import localize

KEY = "inpaint.detector"
FOLDER = "detectors"  # in the folder of models
NONE = "none"  # the value of the option that detects nothing
SIDE = 640  # px of the input where the file leaves it open
PADDING = 114  # grey around the image, as YOLO was trained
OVERLAP = 0.45  # of two boxes of one thing, as intersection over union
_LENGTH_DELIMITED, _VARINT = 2, 0  # protobuf's wire types; 5 and 1 are fixed numbers of 4 and 8 bytes


def detectors(folder: Path) -> dict[str, Path]:
    """Return the detector files of the folder by name."""
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))} if folder.is_dir() else {}


def detect(image: Image.Image, name: str, folder: Path, confidence: float) -> tuple[Box, ...]:
    """Return what the detector `name` finds in an image (RGB), the surest first, at most MOST boxes.

    `confidence` (0 to 1) is the least that counts. Raises OptionError when there is no such file, it can't be used, or it finds
    nothing.
    """
    files = detectors(folder)
    if name not in files:
        known = ", ".join(files) or "-"
        raise _refused(name, localize("inference.detection.unknown", known=known, folder=str(folder)))
    try:
        outputs, scale, corner = run(image, files[name])
        boxes, scores = _read(outputs)
    except Exception as error:  # OpenCV raises cv2.error, which is one, for all that it does not read
        detail = " ".join(str(error).split())[:200]
        raise _refused(name, localize("inference.detection.failed", detail=detail)) from error
    found = tuple(_placed(boxes, scores, scale, corner, image.size, confidence))
    if not found:
        raise _refused(name, localize("inference.detection.nothing", confidence=f"{confidence:g}"))
    return found[:MOST]


def run(image: Image.Image, path: Path) -> tuple[list[np.ndarray], float, tuple[int, int]]:
    """Return the network's outputs, the scale of the image in its input, and where its top left corner lies there."""
    import cv2  # here, not above: pages that detect nothing need not wait for it

    width, height = input_size(path.read_bytes())
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    laid = np.full((height, width, 3), PADDING, np.uint8)
    laid[top : top + inner[1], left : left + inner[0]] = np.asarray(image.resize(inner, Image.Resampling.BILINEAR))
    network = cv2.dnn.readNetFromONNX(str(path))
    network.setInput(cv2.dnn.blobFromImage(laid, 1 / 255))
    outputs = network.forward(network.getUnconnectedOutLayersNames())
    return [np.asarray(output) for output in outputs], scale, (left, top)


def _read(outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (n, 4) as center, width and height in pixels of the input, and scores (n,)."""
    rows = next(output[0] for output in outputs if output.ndim == 3)
    masks = next((output.shape[1] for output in outputs if output.ndim == 4), 0)
    if rows.shape[0] > rows.shape[1]:  # YOLOv5: each row has how sure it is that there is anything
        return rows[:, :4], rows[:, 4] * rows[:, 5:].max(axis=1, initial=0.0)
    rows = rows.T
    return rows[:, :4], rows[:, 4 : rows.shape[1] - masks].max(axis=1)


def _placed(
    boxes: np.ndarray, scores: np.ndarray, scale: float, corner: tuple[int, int], size: tuple[int, int], least: float
) -> Iterator[Box]:
    """Yield the boxes of the image that are sure enough, without doubles and those of less than SMALLEST pixels."""
    import cv2  # as in `run`

    corners = np.column_stack((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:])).astype(np.float32)
    kept = cv2.dnn.NMSBoxes(corners.tolist(), scores.astype(np.float32).tolist(), least, OVERLAP)
    for index in np.asarray(kept, int).reshape(-1):
        left, top, width, height = corners[index]
        sides = [(left - corner[0]) / scale, (top - corner[1]) / scale]
        sides += [sides[0] + width / scale, sides[1] + height / scale]
        x1, y1, x2, y2 = (round(min(max(0, side), size[axis % 2])) for axis, side in enumerate(sides))
        if min(x2 - x1, y2 - y1) >= SMALLEST:
            yield Box(x1, y1, x2, y2)


def painted_boxes(mask: Image.Image) -> tuple[Box, ...]:
    """Return a box around each connected white part of a mask, the largest first, at most MOST; none below SMALLEST."""
    import cv2  # as in `run`

    white = (np.asarray(mask.convert("L")) >= 128).astype(np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(white, connectivity=8)
    sides = sorted(parts[1:].tolist(), key=lambda part: -part[4])
    boxes = (Box(left, top, left + width, top + height) for left, top, width, height, _ in sides)
    return tuple(box for box in boxes if min(box.width, box.height) >= SMALLEST)[:MOST]


# -- the size of a network's input ---------------------------------------------------------------------------------------


def input_size(model: bytes) -> tuple[int, int]:
    """Return (width, height) of the first input of an ONNX file, (SIDE, SIDE) where it is left open.

    In the file: ModelProto.graph (7), .input (11), .type (2), .tensor_type (1), .shape (2), .dim (1), .dim_value (1).
    """
    place = model
    for number in (7, 11, 2, 1, 2):
        found = next((value for field, value in _fields(place) if field == number and isinstance(value, bytes)), None)
        if found is None:
            return SIDE, SIDE
        place = found
    dims = [dict(_fields(value)).get(1) for field, value in _fields(place) if field == 1 and isinstance(value, bytes)]
    sides = [side if isinstance(side, int) and side > 0 else SIDE for side in dims[2:4]]
    return (sides[1], sides[0]) if len(sides) == 2 else (SIDE, SIDE)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field of a protobuf message: numbers, and bytes of what has a length."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
        elif kind == _LENGTH_DELIMITED:
            length, at = _varint(message, at)
            yield tag >> 3, message[at : at + length]
            at += length
        else:
            at += {5: 4, 1: 8}[kind]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _refused(name: str, allowed: Any) -> OptionError:
    return OptionError(source="request", key=KEY, value=name[:100], allowed=allowed)
