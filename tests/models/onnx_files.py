"""Small ONNX files, written field by field: networks that find bright squares, in the formats of YOLOv8,
YOLOv5 and YOLO-pose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FLOAT, INT64 = 1, 7  # TensorProto.DataType
CELL = 8  # px; each cell of the input is one box


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def ints(name: str, values: Sequence[int]) -> bytes:
    return field(5, field(1, name) + b"".join(field(8, value) for value in values) + field(20, 7))


def whole(name: str, value: int) -> bytes:
    return field(5, field(1, name) + field(3, value) + field(20, 2))


def node(kind: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> bytes:
    return field(
        1, b"".join(field(1, one) for one in inputs) + field(2, output) + field(3, output) + field(4, kind) + attributes
    )


def tensor(name: str, values: np.ndarray) -> bytes:
    kind = INT64 if values.dtype == np.int64 else FLOAT
    dims = b"".join(field(1, side) for side in values.shape)
    return field(5, dims + field(2, kind) + field(8, name) + field(9, values.tobytes()))


def value_info(number: int, name: str, sides: Sequence[int]) -> bytes:
    shape = b"".join(field(1, field(1, side)) for side in sides)
    return field(number, field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, shape))))


def bright_squares(path: Path, side: int = 64, version: int = 8) -> Path:
    """Return a detector whose boxes are cells of 8 px: the score of each is its mean brightness.

    `points`: x and y from its center in pixels, and how sure.
    """
    across = side // CELL
    count = across * across
    down, right = np.divmod(np.arange(count), across)
    boxes = np.stack([right * CELL + 4, down * CELL + 4, np.full(count, 8), np.full(count, 8)]).astype(np.float32)
    nodes = node("AveragePool", ["images"], "cells", ints("kernel_shape", [CELL, CELL]) + ints("strides", [CELL, CELL]))
    nodes += node("Conv", ["cells", "grey"], "mean", ints("kernel_shape", [1, 1]))
    weights = tensor("grey", np.full((1, 3, 1, 1), 1 / 3, np.float32))
    if version == 8:
        nodes += node("Reshape", ["mean", "shape"], "scores") + node(
            "Concat", ["boxes", "scores"], "output", whole("axis", 1)
        )
        weights += tensor("shape", np.array([1, 1, count])) + tensor("boxes", boxes[None])
        sides = [1, 5, count]
    else:
        nodes += node("Reshape", ["mean", "shape"], "scores")
        nodes += node("Concat", ["boxes", "scores", "classes"], "output", whole("axis", 2))
        weights += tensor("shape", np.array([1, count, 1])) + tensor("boxes", boxes.T[None].copy())
        weights += tensor("classes", np.ones((1, count, 1), np.float32))
        sides = [1, count, 6]
    graph = (
        nodes
        + field(2, "squares")
        + weights
        + value_info(11, "images", [1, 3, side, side])
        + value_info(12, "output", sides)
    )
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)))
    return path


def bright_people(path: Path, points: Sequence[tuple[float, float, float]], side: int = 64) -> Path:
    """Return a pose model: each cell of 8 px is a person whose score is its mean brightness.

    `points`: x and y from its center in pixels, and how sure.
    """
    across = side // CELL
    count = across * across
    down, right = np.divmod(np.arange(count), across)
    centers = np.stack([right * CELL + 4, down * CELL + 4]).astype(np.float32)
    boxes = np.concatenate([centers, np.full((2, count), 8, np.float32)])
    placed = [np.stack([centers[0] + x, centers[1] + y, np.full(count, sure)]) for x, y, sure in points]
    nodes = node("AveragePool", ["images"], "cells", ints("kernel_shape", [CELL, CELL]) + ints("strides", [CELL, CELL]))
    nodes += node("Conv", ["cells", "grey"], "mean", ints("kernel_shape", [1, 1])) + node("Reshape", ["mean", "shape"], "scores")
    nodes += node("Concat", ["boxes", "scores", "points"], "output", whole("axis", 1))
    weights = tensor("grey", np.full((1, 3, 1, 1), 1 / 3, np.float32)) + tensor("shape", np.array([1, 1, count]))
    weights += tensor("boxes", boxes[None]) + tensor("points", np.concatenate(placed)[None].astype(np.float32))
    ends = value_info(11, "images", [1, 3, side, side]) + value_info(12, "output", [1, 5 + 3 * len(points), count])
    path.write_bytes(field(1, 8) + field(7, nodes + field(2, "people") + weights + ends) + field(8, field(1, "") + field(2, 13)))
    return path
