"""The official `openai` client, unchanged, against a live server."""

import base64
import http.client
import io
import json
from collections.abc import Iterator

import httpx
import openai
import pytest
from PIL import Image

from core.types import JobState
from tests.integration.jobs.harness import wait_for
from tests.integration.server.live import Served


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", timeout=90) as client:
        yield client


def decode_image(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_images_come_back_in_the_order_of_their_seeds(served: Served, client: openai.OpenAI) -> None:
    answer = client.images.generate(model="demo", prompt="红色的房子", n=2, size="128x64", extra_body={"seed": 5})
    images = [decode_image(one.b64_json or "") for one in answer.data or ()]
    assert [image.size for image in images] == [(128, 64)] * 2
    assert [image.getpixel((0, 0)) for image in images] == [(5, 40, 80), (6, 40, 80)]
    assert "红色的房子" in images[0].info["parameters"] and answer.size == "128x64"


def test_the_extra_fields_of_other_servers_reach_the_request(served: Served, client: openai.OpenAI) -> None:
    extra = {"negative_prompt": "car", "num_inference_steps": 3, "guidance_scale": 1.5, "seed": 9}
    client.images.generate(model="demo", prompt="x", size="64x64", output_format="webp", extra_body=extra)
    request = served.studio.queue.recent(1)[0].request
    assert (request.negative_prompt, request.num_inference_steps, request.cfg_scale) == ("car", 3, 2.5)
    assert (request.seed, request.options["output.format"]) == (9, "webp")


def file_of(image: Image.Image) -> tuple[str, bytes, str]:
    file = io.BytesIO()
    image.save(file, "PNG")
    return "a.png", file.getvalue(), "image/png"


def test_an_edit_draws_over_a_image_where_the_mask_is_transparent(served: Served, client: openai.OpenAI) -> None:
    image, hole = Image.new("RGB", (80, 64), (9, 200, 7)), Image.new("RGBA", (80, 64), (0, 0, 0, 255))
    hole.paste((0, 0, 0, 0), (0, 0, 40, 64))
    answer = client.images.edit(
        model="demo", prompt="x", image=file_of(image), mask=file_of(hole), extra_body={"seed": 5, "strength": 0.5}
    )
    generated = decode_image((answer.data or ())[0].b64_json or "")
    assert generated.size == (80, 64), "the image's own"
    assert [generated.getpixel((x, 60)) for x in (5, 70)] == [(255, 255, 255), (0, 0, 0)], "the mask that was made of it"
    request = served.studio.queue.recent(1)[0].request
    assert request.options["img2img.denoising_strength"] == 0.5 and request.seed == 5
    client.images.edit(model="demo", prompt="x", image=file_of(image), size="64x64")
    assert set(served.studio.queue.recent(1)[0].request.inputs) == {"image"}
    client.images.edit(model="demo", prompt="x", image=file_of(hole))
    assert set(served.studio.queue.recent(1)[0].request.inputs) == {"image", "mask_image"}


def test_an_edit_that_cannot_be_made_is_told(served: Served, client: openai.OpenAI) -> None:
    image = file_of(Image.new("RGB", (64, 64)))
    for wrong in (
        {"image": ("a.png", b"?", "image/png")},
        {"image": [image, image]},
        {"n": 0},
        {"extra_body": {"x": 1}},
    ):
        with pytest.raises(openai.BadRequestError):
            client.images.edit(**{"model": "demo", "prompt": "x", "image": image, **wrong})
    assert httpx.post(f"{served.url}/v1/images/edits", data={"prompt": "x"}).status_code == 400


def test_an_address_can_be_asked_for_instead(served: Served, client: openai.OpenAI) -> None:
    answer = client.images.generate(model="demo", prompt="x", size="64x64", response_format="url")
    assert answer.data and answer.data[0].url
    assert Image.open(io.BytesIO(httpx.get(answer.data[0].url, timeout=60).content)).size == (64, 64)


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
    ],
)
def test_what_cannot_be_done_is_an_error_of_openais_kind(
    client: openai.OpenAI, wish: dict, kind: type[openai.APIStatusError], parameter: str | None
) -> None:
    with pytest.raises(kind) as caught:
        client.images.generate(**{"model": "demo", "prompt": "x", "size": "64x64", **wish})
    assert caught.value.type == "invalid_request_error" and caught.value.param == parameter
    assert "；" in str(caught.value) or "。" in str(caught.value)


def test_a_failed_image_is_an_error_and_not_tried_again(served: Served, client: openai.OpenAI) -> None:
    served.fakes["fake.fails"] = "studio"
    before = len(served.studio.queue.recent(200))
    with pytest.raises(openai.InternalServerError, match="NaN at step 2"):
        client.images.generate(model="demo", prompt="x", size="64x64", extra_body={"num_inference_steps": 4})
    assert len(served.studio.queue.recent(200)) == before + 1


def test_a_caller_that_hangs_up_takes_its_job_along(served: Served) -> None:
    served.fakes["fake.step_seconds"] = 0.2
    body = {"prompt": "x", "size": "64x64", "num_inference_steps": 100, "model": "demo"}
    before = len(served.studio.queue.recent(200))
    caller = http.client.HTTPConnection(served.url.removeprefix("http://"))
    caller.request("POST", "/v1/images/generations", json.dumps(body), {"Content-Type": "application/json"})
    wait_for(lambda: len(served.studio.queue.recent(200)) > before)
    caller.close()
    job = served.studio.queue.recent(1)[0]
    wait_for(lambda: served.studio.queue.get(job.id).state is JobState.CANCELLED)
