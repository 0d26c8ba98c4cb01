"""What clients of OpenAI's image service send and expect, request by request."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from core.types import IMAGE, REFERENCES, JobState
from tests.integration.jobs.harness import wait_for
from tests.integration.server.live import Served, serving
from tests.integration.server.test_gate import TOKEN
from tests.integration.server.test_openai_client import decode_image, file_of
from tests.options import measured

SMALL: dict[str, Any] = {"prompt": "a red house", "size": "64x64", "num_inference_steps": 2}


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=90) as client:
        yield client


def post(served: Served, path: str = "images/generations", **body: Any) -> httpx.Response:
    return httpx.post(f"{served.url}/v1/{path}", json={**SMALL, **body}, timeout=90)


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["gpt-image-1", "gpt-image-1.5", "gpt-image-2", "dall-e-2", "dall-e-3", "Tongyi-MAI/Z-Image-Turbo", "", None, "/etc"]
)  # fmt: skip
def test_models_that_clients_name_are_answered_by_the_default(served: Served, name: str | None) -> None:
    answer = post(served, model=name)
    assert answer.status_code == 200 and answer.json()["model"] == answer.headers["x-model"] == "demo"


def test_a_model_that_is_not_installed_is_told(served: Served) -> None:
    answer = post(served, model="sd15")
    assert answer.status_code == 400 and "sd15" in answer.text


@pytest.mark.option("service.openai_models")
def test_strict_models_are_errors(tmp_path: Path) -> None:
    with serving(tmp_path, **{"service.openai_models": "strict"}) as served:
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=90) as client:
            with pytest.raises(openai.NotFoundError, match="no model gpt-image-2"):
                client.images.generate(model="gpt-image-2", prompt="x", size="64x64")
    measured("service.openai_models", "default: gpt-image-1 is answered by demo; strict: error 404")


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, ["b64_json", "url"]),
        ({"model": "gpt-image-1"}, ["b64_json"]),
        ({"model": "dall-e-3"}, ["url"]),
        ({"model": "dall-e-2", "response_format": "b64_json"}, ["b64_json"]),
        ({"response_format": "url"}, ["url"]),
    ],
)
def test_dall_e_clients_get_an_address(served: Served, fields: dict[str, Any], kinds: list[str]) -> None:
    assert list(post(served, **fields).json()["data"][0]) == kinds


def test_an_address_works_without_the_key(tmp_path: Path) -> None:
    with serving(tmp_path, **{"access.token": TOKEN}) as served:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = {**SMALL, "response_format": "url"}
        answer = httpx.post(f"{served.url}/v1/images/generations", json=body, headers=headers, timeout=90)
        address = answer.json()["data"][0]["url"]
        assert Image.open(io.BytesIO(httpx.get(address, timeout=60).content)).size == (64, 64)
        assert httpx.head(address, timeout=60).status_code == 200
        assert httpx.get(address.partition("?")[0], timeout=60).status_code == 401


# -- fields of other servers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"true_cfg_scale": None}, {"vae_use_slicing": False}, {"vae_use_slicing": True}, {"enable_teacache": False},
        {"generator_device": "cpu"}, {"output_quality": "default"}, {"lora": None}, {"lora": {}}, {"stream": False},
        {"partial_images": 0}, {"safety_identifier": "x"}, {"user": "x"}, {"moderation": "low"}, {"n": None}, {"style": "vivid"},
        {"output_compression": 0, "output_format": "jpeg"}, {"quality": "standard"}, {"unknown_null": None}, {"size": ""},
    ],
)  # fmt: skip
@pytest.mark.by_default("fields0", "fields3", "fields6", "fields9", "fields12", "fields15")
def test_neutral_values_are_accepted(served: Served, fields: dict[str, Any]) -> None:
    answer = post(served, **fields)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("fields", "key", "value"),
    [
        ({"true_cfg_scale": 4}, "cfg", 4.0),
        ({"vae_use_tiling": True}, "vae.enable_tiling", True),
        ({"output_quality": "low"}, "output.quality", 35),
        ({"lora": {"name": "ink-print", "scale": 0.5}}, "lora.use", ("ink-print:0.5",)),
        ({"output_compression": 0, "output_format": "jpeg"}, "output.quality", 1),
        ({"flow_shift": 3.0}, "scheduler.shift", 3.0),
    ],
)
def test_fields_of_other_servers_act(served: Served, fields: dict[str, Any], key: str, value: Any) -> None:
    assert post(served, **fields).status_code == 200
    request = served.studio.queue.recent(1)[0].request
    assert (request.cfg_scale if key == "cfg" else request.options[key]) == value


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"enable_teacache": True}, "enable_teacache"),
        ({"generator_device": "cuda"}, "generator_device"),
        ({"true_cfg_scale": 4, "guidance_scale": 2}, "true_cfg_scale"),
        ({"output_quality": "superb"}, "output_quality"),
        ({"lora": {"path": "/etc/passwd"}}, "lora"),
        ({"partial_images": 4}, "partial_images"),
        ({"background": "transparent"}, "background"),
        ({"output_format": "gif", "frame_count": 2}, "output_format"),
        ({"svg": {"model": "x"}}, "svg"),
    ],
)
def test_values_that_would_change_the_image_are_refused_by_name(
    served: Served, fields: dict[str, Any], key: str
) -> None:
    answer = post(served, **fields)
    assert answer.status_code == 400 and key in answer.json()["error"]["param"]


def test_what_has_no_effect_is_named(served: Served) -> None:
    assert post(served, quality="hd", style="natural", complexity="high").json()["ignored"] == ["quality", "complexity"]


# -- streaming ---------------------------------------------------------------------------------------------------------


def test_a_stream_has_previews_and_the_image(served: Served, client: openai.OpenAI) -> None:
    served.fakes["fake.step_seconds"] = 0.05
    stream = client.images.generate(
        model="gpt-image-1", prompt="x", size="64x64", stream=True, partial_images=2, output_format="jpeg",
        extra_body={"num_inference_steps": 30, "seed": 5},
    )  # fmt: skip
    events = list(stream)
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert all(base64.b64decode(event.b64_json)[:3] == b"\xff\xd8\xff" for event in events)
    assert events[-1].size == "64x64" and events[-1].usage.total_tokens == 0


def test_a_stream_of_an_edit_and_of_several(served: Served, client: openai.OpenAI) -> None:
    image = file_of(Image.new("RGB", (64, 64), (9, 200, 7)))
    events = list(client.images.edit(model="demo", prompt="x", image=image, n=2, stream=True))
    assert [event.type for event in events] == ["image_edit.completed"] * 2
    assert decode_image(events[0].b64_json).size == (64, 64)


def test_a_stream_ends_with_the_error(served: Served, client: openai.OpenAI) -> None:
    served.fakes["fake.fails"] = "studio"
    stream = client.images.generate(model="demo", prompt="x", size="64x64", stream=True)
    with pytest.raises(openai.APIError, match="NaN at step 2"):
        list(stream)


def test_a_stream_that_is_closed_cancels_its_job(served: Served, client: openai.OpenAI) -> None:
    served.fakes["fake.step_seconds"] = 0.1
    stream = client.images.generate(
        model="demo", prompt="x", size="64x64", stream=True, partial_images=1, extra_body={"num_inference_steps": 100}
    )
    next(iter(stream))
    stream.close()
    job = served.studio.queue.recent(1)[0]
    wait_for(lambda: served.studio.queue.get(job.id).state is JobState.CANCELLED, 0.05)


# -- edits and variations ----------------------------------------------------------------------------------------------


def test_an_edit_may_say_stream_false(served: Served, client: openai.OpenAI) -> None:
    image = file_of(Image.new("RGB", (64, 64), (9, 200, 7)))
    assert client.images.edit(model="dall-e-2", prompt="x", image=image, stream=False, response_format="b64_json").data


def test_several_input_images_are_refused_with_the_reason(served: Served, client: openai.OpenAI) -> None:
    image = file_of(Image.new("RGB", (64, 64)))
    with pytest.raises(openai.BadRequestError, match="demo starts from one image"):
        client.images.edit(model="demo", prompt="x", image=[image, image])
    with pytest.raises(openai.BadRequestError, match="1 - 4 images"):
        client.images.edit(model="demo", prompt="x", image=[image] * 5)


def test_several_input_images_reach_a_model_that_edits_them(
    served: Served, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = replace(served.studio.catalog.find("demo"), inputs=(IMAGE, *REFERENCES))
    monkeypatch.setattr(type(served.studio.catalog), "find", lambda self, model: edits)
    images = [Image.new("RGBA", (80, 64), (level, 0, 0, level)) for level in (90, 200)]
    answer = client.images.edit(model="demo", prompt="x", image=[file_of(image) for image in images])
    assert list(served.studio.queue.recent(1)[0].request.inputs) == ["image", "image_2"]
    assert "transparency" in str((answer.model_extra or {})["ignored"])
    small = file_of(Image.new("RGB", (20, 20)))
    with pytest.raises(openai.BadRequestError, match="image_2: it has 20x20 px"):
        client.images.edit(model="demo", prompt="x", image=[small, small])


def test_a_file_that_is_not_read_is_named(served: Served) -> None:
    file = file_of(Image.new("RGBA", (64, 64)))
    files = {"image": file, "markup": file}
    answer = httpx.post(f"{served.url}/v1/images/edits", data={"prompt": "x"}, files=files, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "markup"


def test_an_edit_may_be_json(served: Served) -> None:
    _, data, _ = file_of(Image.new("RGB", (64, 64), (9, 200, 7)))
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    answer = post(served, "images/edits", images=[{"image_url": url}], mask={"image_url": url})
    assert answer.status_code == 200 and answer.json()["data"]
    told = post(served, "images/edits", images=[{"image_url": "https://a.example/x.png"}])
    assert told.status_code == 400 and "fetches nothing" in told.text
    assert post(served, "images/edits", images=[{"file_id": "file-1"}]).status_code == 400


def test_a_mask_of_another_size_is_scaled(served: Served, client: openai.OpenAI) -> None:
    image, hole = Image.new("RGB", (80, 64), (9, 200, 7)), Image.new("RGBA", (40, 32), (0, 0, 0, 255))
    hole.paste((0, 0, 0, 0), (0, 0, 20, 32))
    answer = client.images.edit(model="demo", prompt="x", image=file_of(image), mask=file_of(hole))
    generated = decode_image((answer.data or ())[0].b64_json or "")
    assert [generated.getpixel((x, 60)) for x in (5, 70)] == [(255, 255, 255), (0, 0, 0)], "white is transparent"


def test_a_variation_says_the_prompt_it_used(served: Served, client: openai.OpenAI) -> None:
    answer = client.images.create_variation(
        image=file_of(Image.new("RGB", (64, 64), (9, 200, 7))), model="dall-e-2", n=1
    )
    assert answer.data and answer.data[0].url and answer.data[0].revised_prompt == "a detailed image"
    assert served.studio.queue.recent(1)[0].request.options["img2img.denoising_strength"] == 0.6
    assert time.time() - answer.created < 600
