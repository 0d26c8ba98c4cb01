"""The official `openai` client, unchanged, against a live server."""

import base64
import io
from collections.abc import Iterator

import httpx
import openai
import pytest
from PIL import Image

from core.types import JobState
from tests.unit.jobs.shop import wait_for
from tests.unit.service.live import Served


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=90) as client:
        yield client


def picture(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_pictures_come_back_in_the_order_of_their_seeds(served: Served, client: openai.OpenAI) -> None:
    answer = client.images.generate(model="demo", prompt="红色的房子", n=2, size="128x64", extra_body={"seed": 5})
    pictures = [picture(one.b64_json or "") for one in answer.data or ()]
    assert [image.size for image in pictures] == [(128, 64)] * 2
    assert [image.getpixel((0, 0)) for image in pictures] == [(5, 40, 80), (6, 40, 80)]
    assert "红色的房子" in pictures[0].info["parameters"] and answer.size == "128x64"


def test_the_extra_fields_of_other_servers_reach_the_request(served: Served, client: openai.OpenAI) -> None:
    extra = {"negative_prompt": "car", "num_inference_steps": 3, "guidance_scale": 1.5, "seed": 9}
    client.images.generate(model="demo", prompt="x", size="64x64", output_format="webp", extra_body=extra)
    request = served.studio.jobs(1)[0].request
    assert (request.negative_prompt, request.num_inference_steps, request.guidance_scale) == ("car", 3, 1.5)
    assert (request.seed, request.options["output.format"]) == (9, "webp")


def test_an_address_can_be_asked_for_instead(served: Served, client: openai.OpenAI) -> None:
    answer = client.images.generate(model="demo", prompt="x", size="64x64", response_format="url")
    assert answer.data and answer.data[0].url
    assert Image.open(io.BytesIO(httpx.get(answer.data[0].url).content)).size == (64, 64)


def test_models(client: openai.OpenAI) -> None:
    assert "demo" in [model.id for model in client.models.list()]
    assert client.models.retrieve("demo").owned_by == "z-darkroom"
    with pytest.raises(openai.NotFoundError, match="no model gpt-image"):
        client.models.retrieve("gpt-image")


@pytest.mark.parametrize(
    ("wish", "kind", "parameter"),
    [
        ({"size": "huge"}, openai.BadRequestError, "size"),
        ({"size": "8000x8000"}, openai.BadRequestError, "width x height"),
        ({"prompt": " "}, openai.BadRequestError, "prompt"),
        ({"n": 17}, openai.BadRequestError, "generation.num_images"),
        ({"n": 0}, openai.BadRequestError, "body.n"),
        ({"background": "transparent"}, openai.BadRequestError, "body.background"),
        ({"extra_body": {"num_inference_steps": 101}}, openai.BadRequestError, "num_inference_steps"),
        ({"extra_body": {"unknown": 1}}, openai.BadRequestError, "body.unknown"),
        ({"model": "gpt-image-2"}, openai.NotFoundError, None),
        ({"model": "/etc"}, openai.NotFoundError, None),
    ],
)
def test_what_cannot_be_done_is_an_error_of_openais_kind(
    client: openai.OpenAI, wish: dict, kind: type[openai.APIStatusError], parameter: str | None
) -> None:
    with pytest.raises(kind) as caught:
        client.images.generate(**{"model": "demo", "prompt": "x", "size": "64x64", **wish})
    assert caught.value.type == "invalid_request_error" and caught.value.param == parameter
    assert "；" in str(caught.value) or "。" in str(caught.value)


def test_a_failed_picture_is_an_error_and_not_tried_again(served: Served, client: openai.OpenAI) -> None:
    served.fakes["fake.fails"] = "studio"
    before = len(served.studio.jobs(200))
    with pytest.raises(openai.InternalServerError, match="NaN at step 2"):
        client.images.generate(model="demo", prompt="x", size="64x64", extra_body={"num_inference_steps": 4})
    assert len(served.studio.jobs(200)) == before + 1


def test_a_caller_that_hangs_up_takes_its_job_along(served: Served) -> None:
    served.fakes["fake.step_seconds"] = 0.2
    body = {"prompt": "x", "size": "64x64", "num_inference_steps": 100, "model": "demo"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}/v1/images/generations", json=body, timeout=1.0)
    job = served.studio.jobs(1)[0]
    wait_for(lambda: served.studio.job(job.id).state is JobState.CANCELLED)
