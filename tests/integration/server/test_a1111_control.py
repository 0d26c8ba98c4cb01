"""ControlNet units as A1111's extension has them in a request, without a worker: what becomes of them in the job."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from core.config.control_units import KEY
from core.errors import OptionError
from core.server.a1111_control import read_units
from core.server.a1111_request import Reading, TextBody
from core.storage.input_images import InputImages
from core.types import CONTROLS


@pytest.fixture
def studio(tmp_path: Any) -> Any:
    known = SimpleNamespace(all_controlnets=lambda: ["canny-sdxl", "union"])
    return SimpleNamespace(requests=known, input_images=InputImages(tmp_path))


def picture(size: tuple[int, int] = (64, 64)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, "white").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def read(studio: Any, *units: Any) -> tuple[tuple[str, ...], dict[str, str], list[str]]:
    body = TextBody.model_validate({"alwayson_scripts": {"ControlNet": {"args": list(units)}}})
    reading = Reading({"generation.width": 64, "generation.height": 64})
    images = read_units(studio, body, reading)
    return reading.values.get(KEY, ()), images, reading.ignored


def test_fields_of_a_unit_act(studio: Any) -> None:
    unit = {
        "enabled": True, "module": "canny", "model": "Canny-SDXL [d14c016b]", "weight": 0.8, "image": picture(),
        "guidance_start": 0.1, "guidance_end": 0.6, "control_mode": "My prompt is more important", "pixel_perfect": True,
        "threshold_a": 50, "threshold_b": 150, "processor_res": 512, "resize_mode": "Crop and Resize", "hr_option": "Both",
    }  # fmt: skip
    texts, images, ignored = read(studio, unit)
    assert texts == ("canny-sdxl:0.8:preprocessor=canny:low=50:high=150:start=0.1:end=0.6:mode=prompt:image=1",)
    assert list(images) == [CONTROLS[0]] and ignored == []


def test_several_units_with_images_of_their_own(studio: Any) -> None:
    second = {"model": "union", "input_image": picture((80, 64)), "union_control_type": "OpenPose", "resize_mode": 0}
    texts, images, ignored = read(
        studio, {"model": "canny-sdxl", "image": {"image": picture(), "mask": None}}, {"enabled": False}, second
    )
    assert texts == ("canny-sdxl:1:image=1", "union:1:type=pose:image=2") and ignored == []
    assert [studio.input_images.size(images[role]) for role in CONTROLS[:2]] == [(64, 64), (64, 64)]


def test_what_is_made_otherwise_is_named(studio: Any) -> None:
    unit = {"model": "canny-sdxl", "module": "lineart_realistic", "processor_res": 512, "advanced_weighting": [1, 2]}
    texts, images, ignored = read(studio, unit)
    assert texts == ("canny-sdxl:1:preprocessor=lineart",) and images == {}
    assert ignored == [
        "controlnet[0].module: lineart_realistic (used: lineart)",
        "controlnet[0].advanced_weighting",
        "controlnet[0].processor_res (maps have the size of the image)",
    ]


@pytest.mark.parametrize(
    ("unit", "key"),
    [
        ({"model": "canny-sdxl", "module": "openpose_full"}, "module"),
        ({"model": "other"}, "model"),
        ({"model": "canny-sdxl", "control_mode": 7}, "control_mode"),
        ({"model": "canny-sdxl", "weight": "x"}, "weight"),
        ({"model": "canny-sdxl", "image": "no base64!"}, "image"),
        ({"model": "union", "union_control_type": "smell"}, "union_control_type"),
        (7, "alwayson_scripts"),
    ],
)
def test_what_cannot_be_used_is_refused(studio: Any, unit: Any, key: str) -> None:
    with pytest.raises(OptionError, match=key):
        read(studio, unit)
