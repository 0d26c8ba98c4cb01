"""Poses from an ONNX file through OpenCV: OpenPose's skeleton where the points are, and errors that say what is missing."""

import numpy as np
import pytest
from PIL import Image

from core.config.control_units import POSE, ControlUnit
from core.errors import ControlNetError
from core.inference.control_maps import control_map
from core.inference.control_networks import EstimatedMaps
from tests.models.onnx_files import bright_people, bright_squares

BODY = [  # COCO's points from the middle of the box: a person who stands, 7 px high in the network's input; the wrists are unsure
    (0, -3.5, 1), (0.5, -4, 1), (-0.5, -4, 1), (1, -3.5, 1), (-1, -3.5, 1), (2, -2, 1), (-2, -2, 1), (3, 0, 1), (-3, 0, 1),
    (3, 2, 0.1), (-3, 2, 0.1), (1, 1, 1), (-1, 1, 1), (1, 2.5, 1), (-1, 2.5, 1), (1, 4, 1), (-1, 4, 1),
]  # fmt: skip
NECK, ELBOW, WRIST = (255, 85, 0), (255, 255, 0), (170, 255, 0)  # of the right arm where there are two


@pytest.fixture
def person():
    """One bright cell, of 64 px in an image of 512 x 512."""
    image = Image.new("RGB", (512, 512))
    image.paste("white", (256, 192, 320, 256))
    return image


def estimated(folder, image):
    maps = EstimatedMaps(folder, "cpu")
    return control_map(image, ControlUnit("x", preprocessor=POSE), maps), maps.used


def test_skeleton_is_where_the_person_is(tmp_path, person):
    bright_people(tmp_path / "yolo-pose.onnx", BODY)
    made, used = estimated(tmp_path, person)
    seen = np.asarray(made)
    assert made.size == person.size and [one["name"] for one in used["preprocessor.files"]] == ["yolo-pose.onnx"]
    assert tuple(seen[208, 288]) == NECK, "between the shoulders"
    colors = {tuple(one) for one in seen.reshape(-1, 3)}
    assert ELBOW in colors or (255, 170, 0) in colors
    assert (0, 255, 0) in colors and WRIST not in colors, "a hip; no point that is unsure"
    drawn = seen.max(-1) > 0
    rows, columns = np.nonzero(drawn)
    assert rows.min() >= 180 and rows.max() <= 262 and columns.min() >= 260 and columns.max() <= 318


def test_two_people(tmp_path, person):
    bright_people(tmp_path / "yolo-pose.onnx", BODY)
    person.paste("white", (64, 64, 128, 128))
    seen = np.asarray(estimated(tmp_path, person)[0])
    assert tuple(seen[208, 288]) == tuple(seen[80, 96]) == NECK


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda folder: None, "yolo11n-pose.onnx"),
        (lambda folder: (folder / "a.onnx").write_bytes(b"no network"), "OpenCV cannot run it"),
        (lambda folder: bright_squares(folder / "a.onnx"), "no pose model"),
        (lambda folder: bright_people(folder / "a.onnx", BODY), "finds nobody"),
    ],
    ids=["no file", "damaged", "a detector", "nobody"],
)
def test_what_is_missing_is_said(tmp_path, write, said):
    write(tmp_path)
    with pytest.raises(ControlNetError, match=said):
        estimated(tmp_path, Image.new("RGB", (512, 512)))
