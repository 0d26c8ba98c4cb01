"""What clients of A1111 send and expect, request by request."""

from __future__ import annotations

import base64
import io
import json
import threading
from dataclasses import replace
from typing import Any

import httpx
import pytest
from PIL import Image

from core.errors import OptionError
from core.server.a1111_request import ImageBody, TextBody, is_off, read_body
from core.types import IMAGE, REFERENCES, JobState
from tests.integration.jobs.harness import wait_for
from tests.integration.server.live import Served

SMALL = {"prompt": "a red house", "seed": 7, "width": 64, "height": 64, "steps": 4, "cfg_scale": 1.0}


def encoded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


@pytest.fixture
def call(served: Served) -> Any:
    def call(path: str, body: Any = None, client: str = "a client", **more: Any) -> httpx.Response:
        headers = {"X-Client-Id": client}
        address = f"{served.url}/sdapi/v1/{path}"
        if body is None:
            return httpx.get(address, headers=headers, timeout=60, **more)
        return httpx.post(address, json=body, headers=headers, timeout=90, **more)

    return call


# -- samplers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "options", "told"),
    [
        ({"sampler_name": "Euler a"}, ("euler_ancestral", "auto"), None),
        ({"sampler_name": "DPM++ 2M Karras"}, ("dpmpp_2m", "karras"), None),
        ({"sampler_name": "DPM++ 2M", "scheduler": "SGM Uniform"}, ("dpmpp_2m", "sgm_uniform"), None),
        ({"sampler_index": "UniPC", "scheduler": "Automatic"}, ("unipc", "auto"), None),
        ({"sampler_name": "Restart"}, ("auto", "auto"), "sampler_name: Restart (unknown; the model's own is used)"),
        (
            {"sampler_name": "DPM++ SDE"},
            ("auto", "auto"),
            "sampler_name: dpmpp_sde (not for this model; its own is used)",
        ),
        ({"scheduler": "Turbo"}, ("auto", "auto"), "scheduler: Turbo (unknown; the model's own is used)"),
    ],
)
def test_sampler_acts_or_is_named(served: Served, call: Any, wish: Any, options: Any, told: str | None) -> None:
    answer = call("txt2img", {**SMALL, **wish}).json()
    request = served.studio.queue.recent(1)[0].request
    assert (request.options["generation.sampler"], request.options["generation.schedule"]) == options
    assert answer["ignored"] == ([told] if told else [])


# -- options ---------------------------------------------------------------------------------------------------------


def test_options_take_back_all_they_gave(call: Any) -> None:
    options = call("options").json()
    answer = call("options", {**options, "sd_model_checkpoint": "demo [abcdef1234]"})
    assert (answer.status_code, answer.json()) == (200, {})
    assert call("options").json() == options


def test_options_set_the_format_of_this_caller_alone(call: Any) -> None:
    assert call("options", {"samples_format": "jpg", "jpeg_quality": 50}, client="jpg").json() == {}
    assert call("options", client="jpg").json()["samples_format"] == "jpg"
    assert call("options", client="png").json()["samples_format"] == "png"
    image = call("txt2img", SMALL, client="jpg").json()["images"][0]
    assert base64.b64decode(image)[:3] == b"\xff\xd8\xff"


@pytest.mark.parametrize("name", ["sd15", "no-such-model"])
def test_a_checkpoint_that_cannot_be_used_is_refused_when_it_is_chosen(call: Any, name: str) -> None:
    answer = call("options", {"sd_model_checkpoint": name}, client="chooser")
    assert answer.status_code == 422 and name in answer.json()["detail"]
    assert call("options", client="chooser").json()["sd_model_checkpoint"] == "demo"


def test_models_that_cannot_be_used_are_listed_on_request_only(call: Any) -> None:
    usable = call("sd-models").json()
    assert [model["title"] for model in usable] == ["demo"] and usable[0]["usable"]
    every = {model["title"]: model for model in call("sd-models?every=true").json()}
    assert every["sd15"]["usable"] is False and every["sd15"]["problem"]


# -- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["sd-vae", "sd-modules", "hypernetworks", "face-restorers", "prompt-styles", "realesrgan-models", "script-info",
     "latent-upscale-modes", "extensions"],
)  # fmt: skip
def test_what_there_is_none_of_is_an_empty_list(call: Any, name: str) -> None:
    assert call(name).json() == []


def test_lists_have_the_shapes_of_a1111(call: Any) -> None:
    assert call("embeddings").json() == {"loaded": {}, "skipped": {}}
    assert call("scripts").json() == {"txt2img": [], "img2img": []}
    assert {"None", "Lanczos"} <= {upscaler["name"] for upscaler in call("upscalers").json()}
    flags = call("cmd-flags").json()
    assert flags["api"] is True and flags["listen"] is False and "token" not in json.dumps(flags)
    for name in ("refresh-checkpoints", "refresh-vae", "refresh-loras"):
        assert call(name, {}).json() is None
    assert call("interrogate", {"image": "", "model": "clip"}).status_code == 501


def test_unload_and_reload_reach_the_worker(served: Served, call: Any) -> None:
    call("txt2img", SMALL)
    assert call("unload-checkpoint", {}).status_code == 200
    wait_for(lambda: served.studio.worker.status().model is None)
    assert call("reload-checkpoint", {}).status_code == 200
    wait_for(lambda: served.studio.worker.status().model == "demo")


# -- txt2img ---------------------------------------------------------------------------------------------------------

INFO = {
    "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed", "all_subseeds",
    "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "restore_faces",
    "face_restoration_model", "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w",
    "seed_resize_from_h", "denoising_strength", "extra_generation_params", "index_of_first_image", "infotexts", "styles",
    "job_timestamp", "clip_skip", "is_using_inpainting_conditioning", "version",
}  # fmt: skip


def test_info_has_every_field_of_a1111_with_true_values(call: Any) -> None:
    answer = call("txt2img", {**SMALL, "batch_size": 2, "n_iter": 2, "negative_prompt": "car"}).json()
    info = json.loads(answer["info"])
    assert set(info) >= INFO and len(answer["images"]) == 4
    assert (info["batch_size"], info["n_iter"], info["all_seeds"]) == (2, 2, [7, 8, 9, 10])
    assert info["all_negative_prompts"] == ["car"] * 4 and info["ignored"] == answer["ignored"] == []
    assert answer["parameters"]["n_iter"] == 2


def test_nulls_are_defaults(call: Any) -> None:
    nulls = dict.fromkeys(("seed", "negative_prompt", "styles", "override_settings", "alwayson_scripts", "script_args", "n_iter",
                           "hr_scale", "restore_faces", "sampler_name", "send_images", "subseed"))  # fmt: skip
    answer = call("txt2img", {**SMALL, **nulls})
    assert answer.status_code == 200 and answer.json()["ignored"] == []


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ({"styles": ["Anime"]}, ["styles"]),
        ({"subseed": 9, "subseed_strength": 0.9}, []),
        ({"subseed": 9, "subseed_strength": 0}, []),
        ({"refiner_checkpoint": "sdxl", "refiner_switch_at": 0.5}, ["refiner_checkpoint", "refiner_switch_at"]),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2, "sd_vae": "None"}}, ["override_settings.CLIP_stop_at_last_layers"]),
        ({"override_settings": {"sd_vae_decode_method": "TAESD"}}, []),
        ({"override_settings": {"sd_vae_decode_method": "x"}}, ["override_settings.sd_vae_decode_method"]),
        ({"override_settings": {"sd_vae": "x"}}, ["override_settings.sd_vae"]),
        ({"override_settings": {"sd_model_checkpoint": "../x"}}, ["override_settings.sd_model_checkpoint: ../x"]),
        ({"seed_resize_from_w": 512, "seed_resize_from_h": 512}, ["seed_resize_from_h", "seed_resize_from_w"]),
        ({"clip_skip": 2}, ["clip_skip"]),
        ({"clip_skip": 1, "eta": 0, "s_churn": 0, "tiling": False, "do_not_save_grid": True}, []),
        ({"some_extension": {"on": True}}, ["some_extension"]),
        ({"enable_hr": True, "hr_scale": 1}, ["enable_hr: hr_scale 1 (used: one pass at the final size)"]),
        ({"enable_hr": True, "hr_scale": 2, "hr_second_pass_steps": 7.5}, ["hr_second_pass_steps: 7.5 (used: 7)"]),
        ({"enable_hr": True, "denoising_strength": 0}, ["enable_hr: denoising_strength 0 (used: one pass at the final size)"]),
        ({"enable_hr": True, "hr_upscaler": "R-ESRGAN 4x+"}, ["hr_upscaler"]),
        ({"hr_prompt": "x"}, []),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_named(call: Any, field: dict[str, Any], named: list[str]) -> None:
    answer = call("txt2img", {**SMALL, **field})
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored"] == named and json.loads(answer.json()["info"])["ignored"] == named


@pytest.mark.parametrize(
    "script",
    [{"args": []}, {"args": [{"enabled": False}]}, {"args": [False]}, {"args": [False, {"ad_model": "x"}]}, {}, [], None,
     {"args": {"0": {"enabled": False}}}, {"args": {"enabled": False}}],
)  # fmt: skip
def test_a_script_that_is_off_asks_for_nothing(script: Any) -> None:
    assert is_off(script) and read_body(TextBody.model_validate({"alwayson_scripts": {"ControlNet": script}}), {})


@pytest.mark.parametrize(
    "script", [{"args": [1]}, {"args": [{"model": "canny"}]}, {"args": [True, {}]}, [{"enabled": True}]]
)
def test_a_script_that_is_on_is_refused(call: Any, script: Any) -> None:
    assert not is_off(script)
    assert call("txt2img", {**SMALL, "alwayson_scripts": {"ControlNet": script}}).status_code == 422


def test_loras_of_stable_diffusion_cpp_act(served: Served, call: Any) -> None:
    call("txt2img", {**SMALL, "lora": [{"path": "loras/ink-print.safetensors", "multiplier": 0.5}]})
    assert served.studio.queue.recent(1)[0].request.options["lora.use"] == ("ink-print:0.5",)


@pytest.mark.parametrize(
    ("wish", "seeds", "subseeds", "strength"),
    [
        ({"subseed": 100, "subseed_strength": 0.25, "batch_size": 3}, [7, 7, 7], [100, 101, 102], 0.25),
        ({"subseed": 100, "subseed_strength": 0, "batch_size": 2}, [7, 8], [-1, -1], 0),
    ],
)
def test_subseed_is_the_variation_seed_and_counts_up(
    served: Served, call: Any, wish: Any, seeds: list[int], subseeds: list[int], strength: float
) -> None:
    answer = call("txt2img", {**SMALL, **wish}).json()
    info = json.loads(answer["info"])
    assert (info["all_seeds"], info["all_subseeds"], info["subseed_strength"]) == (seeds, subseeds, strength)
    options = served.studio.queue.recent(1)[0].request.options
    acts = (options["generation.variation_strength"], options["generation.variation_seed"])
    assert acts == (strength, subseeds[-1] if strength else 0)


def test_subseed_images_are_bounded_as_others(call: Any) -> None:
    wish = {"subseed": 1, "subseed_strength": 0.5, "n_iter": 1000}
    answer = call("txt2img", {**SMALL, **wish})
    assert answer.status_code == 422 and "max_images" in answer.json()["detail"]


# -- interrupt and skip ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "seeds"), [("interrupt", [7]), ("skip", [7, 9])])
def test_interrupt_returns_what_is_done_and_skip_goes_on(
    served: Served, call: Any, ending: str, seeds: list[int]
) -> None:
    served.fakes["fake.step_seconds"] = 0.05
    answers: list[httpx.Response] = []
    body = {**SMALL, "steps": 40, "n_iter": 3}  # two seconds an image: the second one has not ended when it is skipped
    thread = threading.Thread(target=lambda: answers.append(call("txt2img", body)))
    thread.start()
    wait_for(lambda: call("progress").json()["state"]["job_no"] == 1, 0.05)
    assert call(ending, {}).json() == {}
    thread.join()
    info = json.loads(answers[0].json()["info"])
    assert answers[0].status_code == 200 and len(answers[0].json()["images"]) == len(seeds)
    assert info["all_seeds"] == seeds
    assert JobState.CANCELLED in {job.state for job in served.studio.queue.recent(2)}


def test_progress_shows_a_png_or_none(served: Served, call: Any) -> None:
    served.fakes["fake.step_seconds"] = 0.05
    thread = threading.Thread(target=lambda: call("txt2img", {**SMALL, "steps": 40}))
    thread.start()
    shown = wait_for(lambda: call("progress").json()["current_image"], 0.05)
    assert base64.b64decode(shown)[:4] == b"\x89PNG"
    assert call("progress?skip_current_image=true").json()["current_image"] is None
    call("interrupt", {})
    thread.join()


# -- img2img -----------------------------------------------------------------------------------------------------------

BLUE = Image.new("RGB", (64, 64), (120, 180, 240))


@pytest.mark.parametrize("color", [(0, 0, 0, 255), (255, 255, 255, 255), (200, 30, 90, 200)])
def test_a_mask_that_is_not_opaque_is_its_alpha(call: Any, color: tuple[int, ...]) -> None:
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    mask.paste(color, (0, 0, 32, 64))
    body = {**SMALL, "init_images": [encoded(BLUE)], "mask": encoded(mask), "denoising_strength": 0.7}
    image = decoded(call("img2img", body).json()["images"][0])
    assert [image.getpixel((x, 60)) for x in (5, 60)] == [(255, 255, 255), (0, 0, 0)], "the fake shows the mask"


def test_a_mask_of_another_size_is_scaled(served: Served, call: Any) -> None:
    mask = Image.new("L", (32, 32), 255)
    answer = call("img2img", {**SMALL, "init_images": [encoded(BLUE)], "mask": encoded(mask)})
    assert answer.status_code == 200
    assert served.studio.input_images.size(served.studio.queue.recent(1)[0].request.inputs["mask_image"]) == (64, 64)


@pytest.mark.parametrize(("mode", "left"), [(0, (255, 0, 0)), (2, (255, 0, 0))])
def test_resize_mode_lays_the_image_over_the_size(served: Served, call: Any, mode: int, left: tuple[int, ...]) -> None:
    image = Image.new("RGB", (64, 128), (255, 0, 0))
    image.paste((0, 0, 255), (32, 0, 64, 128))
    call("img2img", {**SMALL, "width": 128, "height": 64, "init_images": [encoded(image)], "resize_mode": mode})
    stored = Image.open(served.studio.input_images.file(served.studio.queue.recent(1)[0].request.inputs["image"]))
    assert stored.size == (128, 64) and stored.getpixel((2, 2)) == left and stored.getpixel((125, 60)) == (0, 0, 255)


def test_several_images_go_to_a_model_that_edits_them(
    served: Served, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [encoded(Image.new("RGB", (64, 64), (60 * k, 0, 0))) for k in range(5)]
    told = call("img2img", {**SMALL, "init_images": images[:2]})
    assert told.status_code == 422 and "one image" in told.text
    edits = replace(served.studio.catalog.find("demo"), inputs=(IMAGE, *REFERENCES))
    monkeypatch.setattr(type(served.studio.catalog), "find", lambda self, model: edits)
    assert call("img2img", {**SMALL, "init_images": images[:3]}).status_code == 200
    inputs = served.studio.queue.recent(1)[0].request.inputs
    assert list(inputs) == ["image", "image_2", "image_3"] and len(set(inputs.values())) == 3
    told = call("img2img", {**SMALL, "init_images": images})
    assert told.status_code == 422 and "1 - 4 images" in told.text


def test_base64_with_line_breaks_and_a_data_url_is_read(call: Any) -> None:
    lines = "\n".join(encoded(BLUE)[at : at + 76] for at in range(0, len(encoded(BLUE)), 76))
    for text in (lines, f"data:image/png;base64,{encoded(BLUE)}", encoded(BLUE).rstrip("=")):
        assert call("img2img", {**SMALL, "init_images": [text]}).status_code == 200
    told = call("img2img", {**SMALL, "init_images": ["https://a.example/x.png"]})
    assert told.status_code == 422 and "fetches nothing" in told.text


def test_fields_of_a_mask_become_options_with_a_mask_only() -> None:
    fields = {"inpainting_fill": 0, "inpaint_full_res": True, "inpaint_full_res_padding": 24, "width": 96, "height": 64}
    without = read_body(ImageBody.model_validate(fields), {})
    assert without.ignored == [] and not [key for key in without.values if key.startswith("inpaint.")]
    reading = read_body(ImageBody.model_validate({**fields, "mask": "x"}), {})
    found = {key: value for key, value in reading.values.items() if key.startswith("inpaint.")}
    assert reading.ignored == [] and found == {
        "inpaint.fill": "blur", "inpaint.area": "masked", "inpaint.padding": 24,
        "inpaint.render_width": 96, "inpaint.render_height": 64,
    }  # fmt: skip
    with pytest.raises(OptionError, match="inpainting_fill"):
        read_body(ImageBody.model_validate({"inpainting_fill": 7, "mask": "x"}), {})


def test_only_masked_gives_a_file_of_the_images_size(served: Served, call: Any) -> None:
    mask = Image.new("L", (200, 120))
    mask.paste(255, (10, 10, 50, 50))
    body = {**SMALL, "init_images": [encoded(BLUE.resize((200, 120)))], "mask": encoded(mask), "inpaint_full_res": True}
    assert decoded(call("img2img", body).json()["images"][0]).size == (200, 120)
    request = served.studio.queue.recent(1)[0].request
    assert (request.options["inpaint.render_width"], request.options["inpaint.render_height"]) == (64, 64)


# -- extras ------------------------------------------------------------------------------------------------------------


def test_networks_enlarge_as_jobs_and_in_hires_fix(served: Served, call: Any) -> None:
    assert {"compact-x2", "compact-x4"} <= {one["name"] for one in call("upscalers").json()}
    body = {"image": encoded(BLUE), "upscaler_1": "compact-x2", "upscaling_resize": 2}
    assert decoded(call("extra-single-image", body).json()["image"]).size == (128, 128)
    request = served.studio.queue.recent(1)[0].request
    assert (request.options["upscale.mode"], request.options["upscale.method"]) == ("enlarge", "compact-x2")
    upscaled = TextBody.model_validate({**SMALL, "enable_hr": True, "hr_upscaler": "compact-x2"})
    assert read_body(upscaled, {}, ("compact-x2",)).values["hires.upscaler"] == "compact-x2"
    assert read_body(upscaled, {}).ignored == ["hr_upscaler"]


def test_extra_single_image_enlarges(call: Any) -> None:
    body = {"image": encoded(BLUE), "upscaler_1": "Lanczos", "upscaling_resize": 1.5, "gfpgan_visibility": 0.5}
    answer = call("extra-single-image", body).json()
    assert decoded(answer["image"]).size == (96, 96) and answer["ignored"] == ["gfpgan_visibility"]
    sized = {**body, "resize_mode": 1, "upscaling_resize_w": 200, "upscaling_resize_h": 100}
    assert decoded(call("extra-single-image", sized).json()["image"]).size == (200, 100)
    whole = {**sized, "upscaling_crop": False}
    assert decoded(call("extra-single-image", whole).json()["image"]).size == (100, 100)
    several = {"imageList": [{"data": encoded(BLUE), "name": "a"}] * 2, "upscaler_1": "Nearest", "upscaling_resize": 2}
    assert [decoded(one).size for one in call("extra-batch-images", several).json()["images"]] == [(128, 128)] * 2


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"upscaler_1": "R-ESRGAN"}, "upscaler_1"),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 8192, "upscaling_resize_h": 8192}, "upscaling_resize"),
        ({"upscaler_1": "Lanczos", "image": "?"}, "image"),
        ({"upscaling_resize": 1e9}, "upscaling_resize"),
    ],
)  # fmt: skip
def test_extra_single_image_refuses(call: Any, body: dict[str, Any], key: str) -> None:
    answer = call("extra-single-image", {"image": encoded(BLUE), **body})
    assert answer.status_code == 422 and key in answer.text
