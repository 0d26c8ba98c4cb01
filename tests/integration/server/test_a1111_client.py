"""The `webuiapi` client, unchanged, against a live server."""

import threading
from typing import Any

import httpx
import pytest
import webuiapi
from PIL import Image

from core.types import JobState
from tests.integration.jobs.harness import wait_for
from tests.integration.server.live import Served

SMALL = {"width": 64, "height": 64, "steps": 4, "cfg_scale": 1.0}


@pytest.fixture(scope="module")
def client(served: Served) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(host="127.0.0.1", port=served.port)


def test_txt2img(served: Served, client: webuiapi.WebUIApi) -> None:
    result = client.txt2img(prompt="a red house 红", negative_prompt="car", seed=7, batch_size=2, n_iter=1, **SMALL)
    assert [image.size for image in result.images] == [(64, 64)] * 2
    assert [image.getpixel((0, 0)) for image in result.images] == [(7, 40, 80), (8, 40, 80)]
    assert result.info["all_seeds"] == [7, 8] and result.info["sampler_name"] == "Euler"
    assert "Negative prompt: car" in result.info["infotexts"][0]
    assert result.image.info["parameters"] == result.info["infotexts"][0]
    request = served.studio.queue.recent(1)[0].request
    assert (request.num_inference_steps, request.cfg_scale) == (4, 1.0)


def test_img2img(served: Served, client: webuiapi.WebUIApi) -> None:
    image, mask = Image.new("RGB", (64, 64), (9, 200, 7)), Image.new("RGB", (64, 64), "white")
    result = client.img2img(images=[image], mask_image=mask, prompt="a house", denoising_strength=0.5, seed=7, **SMALL)
    assert [result.image.getpixel((5, y)) for y in (5, 60)] == [(9, 200, 7), (255, 255, 255)]
    request = served.studio.queue.recent(1)[0].request
    assert set(request.inputs) == {"image", "mask_image"} and request.options["img2img.denoising_strength"] == 0.5
    turned = client.img2img(images=[image], mask_image=mask, prompt="x", inpainting_mask_invert=1, **SMALL).image
    assert turned.getpixel((5, 60)) == (0, 0, 0)
    client.img2img(images=[image], prompt="x", **SMALL)
    assert set(served.studio.queue.recent(1)[0].request.inputs) == {"image"}
    for wrong in ({"init_images": []}, {"init_images": ["?"]}, {"init_images": ["AAAA"]}):
        answer = httpx.post(f"{served.url}/sdapi/v1/img2img", json={"prompt": "x", **SMALL, **wrong})
        assert answer.status_code == 422, wrong


def test_png_info_reads_what_txt2img_wrote(client: webuiapi.WebUIApi) -> None:
    image = client.txt2img(prompt="a blue house", seed=3, **SMALL).image
    assert client.png_info(image).info == image.info["parameters"]
    assert client.png_info(image).info.startswith("a blue house\n")


def test_progress_and_interrupt(served: Served, client: webuiapi.WebUIApi) -> None:
    assert client.get_progress()["state"]["job_count"] == 0
    client.util_wait_for_ready(check_interval=0.1)
    served.fakes["fake.step_seconds"] = 0.1
    said: list[Any] = []

    def ask() -> None:
        try:
            said.append(client.txt2img(prompt="slow", **{**SMALL, "steps": 100}))
        except RuntimeError as error:  # pragma: no cover - shown by the assertion
            said.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    other = webuiapi.WebUIApi(host="127.0.0.1", port=served.port)
    now = wait_for(lambda: (found := other.get_progress())["state"]["sampling_step"] > 2 and found)
    assert 0.0 < now["progress"] < 1.0 and now["state"]["sampling_steps"] == 100 and now["current_image"]
    other.interrupt()
    thread.join()
    assert said[0].images == [], "none was done"
    assert served.studio.queue.recent(1)[0].state is JobState.CANCELLED


def test_models_samplers_schedulers_memory(client: webuiapi.WebUIApi) -> None:
    assert "demo" in client.util_get_model_names() and client.util_get_current_model() == "demo"
    names = client.util_get_sampler_names()
    assert {"Euler", "Euler a", "DPM++ 2M SDE"} <= set(names)  # the client sorts them
    schedules = {"auto", "simple", "normal", "karras", "exponential", "beta", "sgm_uniform"}
    assert set(client.util_get_scheduler_names()) == schedules
    assert client.get_memory()["ram"]["total"] > client.get_memory()["ram"]["worker"] > 0
    client.util_set_model("demo")
    assert client.get_options()["sd_model_checkpoint"] == "demo"


@pytest.mark.parametrize(
    ("wish", "size", "told"),
    [
        (
            {},
            (128, 128),
            {"hires.scale": 2.0, "hires.denoising_strength": 0.7, "hires.steps": "auto", "hires.upscaler": "lanczos"},
        ),
        ({"hr_scale": 1.5, "denoising_strength": 0.4}, (96, 96), {"hires.scale": 1.5, "hires.denoising_strength": 0.4}),
        ({"hr_resize_x": 96, "hr_second_pass_steps": 2}, (96, 96), {"hires.scale": 1.5, "hires.steps": 2}),
        ({"hr_resize_x": 96, "hr_resize_y": 128}, (96, 128), {"hires.scale": 1.5}),
        ({"hr_upscaler": "Nearest"}, (128, 128), {"hires.upscaler": "nearest"}),
    ],
)
def test_its_hires_fix_is_the_second_pass(
    client: webuiapi.WebUIApi, served: Served, wish: dict, size: tuple, told: dict
) -> None:
    """There the size is the first pass's; the file has the enlarged one."""
    client.txt2img(prompt="a red house", **{**SMALL, "width": 64, "height": 64, "steps": 2, "enable_hr": True, **wish})
    request = served.studio.queue.recent(1)[0].request
    assert (request.width, request.height) == size and request.options["hires.enabled"]
    assert {key: request.options[key] for key in told} == told


@pytest.mark.parametrize(
    ("wish", "key"),
    [
        ({"enable_hr": True, "hr_scale": 9}, "hires.scale"),
        ({"restore_faces": True}, "restore_faces"),
        ({"script_name": "x/y/z plot"}, "script_name"),
        ({"alwayson_scripts": {"controlnet": {"args": [1]}}}, "alwayson_scripts"),
        ({"steps": 101}, "num_inference_steps"),
        ({"batch_size": 5, "n_iter": 5}, "num_images"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_what_is_not_here_is_refused(client: webuiapi.WebUIApi, wish: dict, key: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        client.txt2img(**{"prompt": "x", **SMALL, **wish})
    status, body = caught.value.args
    assert status == 422 and key in body


def test_an_option_that_is_not_here_is_named(served: Served) -> None:
    answer = httpx.post(f"{served.url}/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2, "samples_format": "png"})
    assert answer.status_code == 200 and answer.json() == {"ignored": ["CLIP_stop_at_last_layers"]}
