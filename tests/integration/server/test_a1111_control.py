"""ControlNet units as A1111's extension has them in a request, without a worker: what becomes of them in the job."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from PIL import Image

from core.config.control_units import KEY
from core.errors import OptionError
from core.inference.control_maps import canny
from core.models.controlnet_library import DepthLibrary, PoseLibrary
from core.server.a1111_control import create_controlnet, read_units
from core.server.a1111_request import Reading, TextBody
from core.storage.input_images import InputImages
from core.studio.request_builder import RequestBuilder
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
    texts, images, ignored = read(studio, {**unit, "low_vram": True})
    assert texts == ("canny-sdxl:1:preprocessor=lineart",) and images == {}
    assert ignored == [
        "controlnet[0].module: lineart_realistic (used: lineart)",
        "controlnet[0].advanced_weighting",
        "controlnet[0].low_vram",
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


@pytest.fixture
def client(studio: Any) -> TestClient:
    builder = RequestBuilder.__new__(RequestBuilder)
    builder._input_images = studio.input_images
    builder._depths, builder._poses = DepthLibrary(Path("nowhere")), PoseLibrary(Path("nowhere"))
    studio.requests.preprocessed = builder.preprocessed

    def problem(error: Any, status: int) -> JSONResponse:
        return JSONResponse({"error": error.message("en")}, status)

    return TestClient(create_controlnet(lambda: studio, problem))


def test_lists_are_those_of_the_extension(client: TestClient) -> None:
    assert client.get("/version").json() == {"version": 2}
    assert client.get("/model_list", params={"update": True}).json() == {"model_list": ["canny-sdxl", "union"]}
    modules = client.get("/module_list", params={"alias_names": True}).json()
    assert [slider["value"] for slider in modules["module_detail"]["canny"]["sliders"]] == [512, 100, 200]
    assert set(modules["module_detail"]) == set(modules["module_list"])
    types = client.get("/control_types").json()["control_types"]
    assert types["All"]["model_list"] == ["canny-sdxl", "union"]
    assert types["Canny"]["module_list"] == ["none", "canny"] and types["Canny"]["model_list"] == ["canny-sdxl", "union"]
    assert (types["Canny"]["default_option"], types["Canny"]["default_model"]) == ("canny", "canny-sdxl")
    assert types["OpenPose"]["model_list"] == ["union"]
    assert client.get("/settings").json() == {"control_net_unit_count": 4}


def test_detect_answers_the_map(client: TestClient) -> None:
    square = Image.new("RGB", (64, 64))
    square.paste("white", (16, 16, 48, 48))
    buffer = io.BytesIO()
    square.save(buffer, "PNG")
    given = base64.b64encode(buffer.getvalue()).decode()
    answer = client.post("/detect", json={"controlnet_module": "canny", "controlnet_input_images": [given]}).json()
    made = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
    assert answer["info"] == "Success" and made.tobytes() == canny(square, 100, 200).tobytes()
    for body in ({"controlnet_module": "openpose_full", "controlnet_input_images": [given]}, {"controlnet_module": "canny"}):
        assert client.post("/detect", json=body).status_code in (400, 422)
