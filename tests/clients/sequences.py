"""Request sequences of clients that are no packages, as their sources send them, with what they read of the answers."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from PIL import Image

SMALL = {"width": 64, "height": 64, "steps": 2}
Check = Callable[[Any], object]


@dataclass(frozen=True)
class Step:
    """A request, the status that the client expects, and what it reads."""

    method: str
    path: str
    body: Any = None
    status: int = 200
    check: Check = lambda answer: True
    files: Mapping[str, tuple[str, bytes, str]] | None = None


@dataclass(frozen=True)
class Sequence_:
    """A client by name, where its requests were read, and the requests."""

    name: str
    source: str
    calls: str
    steps: Sequence[Step | Callable[[httpx.Client], object]]


def play(sequence: Sequence_, base_url: str) -> None:
    """Send the requests. Raises AssertionError for the first answer that the client could not use."""
    headers = {"X-Client-Id": sequence.name.encode("ascii", "replace").decode()}
    with httpx.Client(base_url=base_url, headers=headers, timeout=120) as client:
        for step in sequence.steps:
            if not isinstance(step, Step):
                step(client)
                continue
            if step.files is not None:
                answer = client.request(step.method, step.path, data=step.body, files=step.files)
            else:
                answer = client.request(step.method, step.path, json=step.body)
            assert answer.status_code == step.status, (
                f"{step.method} {step.path}: {answer.status_code} {answer.text[:200]}"
            )
            told = answer.json()
            assert step.check(told) is not False, f"{step.method} {step.path}: {str(told)[:200]}"


def get(path: str, check: Check = lambda answer: True, status: int = 200) -> Step:
    return Step("GET", path, status=status, check=check)


def post(path: str, body: Any, check: Check = lambda answer: True, status: int = 200) -> Step:
    return Step("POST", path, body, status, check)


def is_png(text: str) -> bool:
    return base64.b64decode(text.rpartition(",")[2])[:4] == b"\x89PNG"


def first_image(answer: Any) -> bool:
    return is_png(answer["images"][0]) and "infotexts" in json.loads(answer["info"])


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (120, 180, 240)).save(buffer, "PNG")
    return buffer.getvalue()


def _set_model_of_open_webui(client: httpx.Client) -> None:
    """set_image_model(): GET the options, change the checkpoint, POST everything back."""
    options = client.get("/sdapi/v1/options").json()
    answer = client.post("/sdapi/v1/options", json={**options, "sd_model_checkpoint": "demo"})
    assert answer.status_code == 200, answer.text[:200]


IMAGE = base64.b64encode(png()).decode()
SD = "/sdapi/v1"
PHOTOSHOP_UNIT = {"enabled": False, "module": "none", "model": "none", "weight": 1}

SEQUENCES = (
    Sequence_(
        "Open WebUI (A1111)",
        "routers/images.py",
        "options, sd-models, txt2img",
        [
            get(f"{SD}/options", lambda answer: answer["sd_model_checkpoint"]),
            get(f"{SD}/sd-models", lambda answer: [model["title"] + model["model_name"] for model in answer]),
            _set_model_of_open_webui,
            post(
                f"{SD}/txt2img",
                {"prompt": "a house", "batch_size": 1, "width": 64, "height": 64, "steps": 2},
                first_image,
            ),
        ],
    ),
    Sequence_(
        "Open WebUI (OpenAI)",
        "routers/images.py",
        "generations, edits",
        [
            post(
                "/v1/images/generations",
                {"model": "dall-e-2", "prompt": "a", "n": 1, "size": "64x64", "response_format": "b64_json"},
                lambda answer: is_png(answer["data"][0]["b64_json"]),
            ),
            post(
                "/v1/images/generations",
                {"model": "gpt-image-1", "prompt": "a", "n": 1, "size": "64x64"},
                lambda answer: is_png(answer["data"][0]["b64_json"]),
            ),
            Step(
                "POST",
                "/v1/images/edits",
                {"model": "gpt-image-1", "prompt": "a", "n": "1"},
                check=lambda answer: is_png(answer["data"][0]["b64_json"]),
                files={"image": ("a.png", png(), "image/png")},
            ),
        ],
    ),
    Sequence_(
        "SillyTavern",
        "src/endpoints/stable-diffusion.js",
        "options, upscalers, latent modes, VAEs, samplers, txt2img, interrupt",
        [
            get(f"{SD}/options"),
            get(f"{SD}/upscalers", lambda answer: [one["name"] for one in answer]),
            get(f"{SD}/latent-upscale-modes", lambda answer: [one["name"] for one in answer] == []),
            get(f"{SD}/sd-vae"),
            get(f"{SD}/sd-modules"),
            get(f"{SD}/samplers", lambda answer: [one["name"] for one in answer]),
            get(f"{SD}/schedulers", lambda answer: [one["name"] for one in answer]),
            get(f"{SD}/sd-models", lambda answer: [one["title"] for one in answer]),
            post(f"{SD}/options", {"sd_model_checkpoint": "demo"}),
            get(f"{SD}/progress", lambda answer: answer["progress"] == 0 and answer["state"]["job_count"] == 0),
            post(
                f"{SD}/txt2img",
                {
                    "prompt": "a",
                    "negative_prompt": "",
                    "sampler_name": "Euler a",
                    "scheduler": "karras",
                    **SMALL,
                    "cfg_scale": 7,
                    "seed": None,
                    "restore_faces": False,
                    "enable_hr": False,
                    "hr_upscaler": "Latent",
                    "hr_scale": 1,
                    "hr_additional_modules": [],
                    "denoising_strength": 0,
                    "hr_second_pass_steps": 0,
                    "clip_skip": 1,
                    "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"},
                    "save_images": True,
                    "send_images": True,
                    "do_not_save_grid": False,
                    "do_not_save_samples": False,
                },
                first_image,
            ),
            post(f"{SD}/interrupt", {}),
        ],
    ),
    Sequence_(
        "LibreChat",
        "DALLE3.js, StableDiffusion.js",
        "generations with dall-e-3, txt2img",
        [
            post(
                "/v1/images/generations",
                {"model": "dall-e-3", "quality": "standard", "style": "vivid", "size": "64x64", "prompt": "a", "n": 1},
                lambda answer: answer["data"][0]["url"].startswith("http"),
            ),
            post(f"{SD}/txt2img", {"prompt": "a", "negative_prompt": "b", "cfg_scale": 4.5, **SMALL}, first_image),
        ],
    ),
    Sequence_(
        "LobeChat",
        "openaiCompatibleFactory/createImage.ts",
        "generations, edits",
        [
            post(
                "/v1/images/generations",
                {"model": "gpt-image-1", "n": 1, "prompt": "a", "size": "auto", "quality": "auto"},
                lambda answer: is_png(answer["data"][0]["b64_json"]),
            ),
            post(
                "/v1/images/generations",
                {"model": "dall-e-3", "n": 1, "prompt": "a", "size": "64x64", "response_format": "b64_json"},
                lambda answer: is_png(answer["data"][0]["b64_json"]),
            ),
        ],
    ),
    Sequence_(
        "n8n",
        "nodes-langchain OpenAi image/generate",
        "generations",
        [
            post(
                "/v1/images/generations",
                {"prompt": "a", "model": "dall-e-2", "response_format": "b64_json", "n": 1, "size": "64x64"},
                lambda answer: is_png(answer["data"][0]["b64_json"]),
            ),
            post(
                "/v1/images/generations",
                {"prompt": "a", "model": "gpt-image-1", "n": 1, "size": "64x64", "quality": "high"},
                lambda answer: is_png(answer["data"][0]["b64_json"]),
            ),
        ],
    ),
    Sequence_(
        "KoboldAI Lite",
        "index.html",
        "sd-models, txt2img, img2img",
        [
            get(f"{SD}/sd-models", lambda answer: [one["title"] for one in answer]),
            post(
                f"{SD}/txt2img",
                {
                    "prompt": "a",
                    "negative_prompt": "b",
                    "sampler_name": "Euler a",
                    "batch_size": 1,
                    "n_iter": 1,
                    **SMALL,
                    "cfg_scale": 7,
                    "seed": -1,
                    "tiling": False,
                    "do_not_save_samples": True,
                    "do_not_save_grid": True,
                    "enable_hr": False,
                    "eta": 0,
                    "s_churn": 0,
                    "s_tmax": 0,
                    "s_tmin": 0,
                    "s_noise": 1,
                    "override_settings": {"sd_model_checkpoint": "none-such"},
                    "override_settings_restore_afterwards": True,
                },
                lambda answer: first_image(answer) and "sd_model_checkpoint" in str(answer["ignored"]),
            ),
            post(
                f"{SD}/img2img",
                {"prompt": "a", "init_images": [IMAGE], "denoising_strength": 0.6, **SMALL},
                first_image,
            ),
        ],
    ),
    Sequence_(
        "text-generation-webui",
        "extensions/sd_api_pictures/script.py",
        "samplers, sd-models, options, unload, reload, txt2img",
        [
            get(f"{SD}/samplers"),
            get(f"{SD}/sd-models"),
            post(f"{SD}/unload-checkpoint", ""),
            post(f"{SD}/reload-checkpoint", ""),
            post(f"{SD}/options", {"sd_model_checkpoint": "demo"}),
            post(
                f"{SD}/txt2img",
                {
                    "prompt": "a",
                    "seed": -1,
                    "sampler_name": "DPM++ 2M",
                    "enable_hr": "False",
                    "hr_scale": 2,
                    "hr_upscaler": "ESRGAN_4x",
                    "denoising_strength": 0.4,
                    **SMALL,
                    "cfg_scale": 7,
                    "restore_faces": "False",
                    "negative_prompt": "",
                },
                first_image,
            ),
        ],
    ),
    Sequence_(
        "AI Render",
        "sd_backends/automatic1111_api.py",
        "samplers, upscalers, ControlNet models, img2img, extra-single-image",
        [
            get(f"{SD}/samplers"),
            get(f"{SD}/upscalers"),
            get("/controlnet/model_list", lambda answer: answer["model_list"] == []),  # none is on this machine
            get("/controlnet/module_list", lambda answer: "canny" in answer["module_list"]),
            post(
                f"{SD}/img2img",
                {
                    "init_images": [f"data:image/png;base64,{IMAGE}"],
                    "prompt": "a",
                    "sampler_index": "Euler a",
                    "denoising_strength": 0.5,
                    "seed": 1,
                    **SMALL,
                    "cfg_scale": 7,
                },
                first_image,
            ),
            post(
                f"{SD}/extra-single-image",
                {
                    "resize_mode": 0,
                    "show_extras_results": True,
                    "gfpgan_visibility": 0,
                    "codeformer_visibility": 0,
                    "codeformer_weight": 0,
                    "upscaling_resize": 2,
                    "upscaling_resize_w": 512,
                    "upscaling_resize_h": 512,
                    "upscaling_crop": True,
                    "upscaler_1": "Lanczos",
                    "upscaler_2": "None",
                    "extras_upscaler_2_visibility": 0,
                    "upscale_first": True,
                    "image": IMAGE,
                },
                lambda answer: is_png(answer["image"]),
            ),
        ],
    ),
    Sequence_(
        "Auto-Photoshop",
        "utility/sdapi/sdapi.js",
        "heartbeat, lists, txt2img and inpaint with units that are off",
        [
            get("/sdapi/auto-photoshop-sd/heartbeat", status=404),
            get("/config", status=404),
            get(f"{SD}/sd-models"),
            get(f"{SD}/hypernetworks"),
            get(f"{SD}/loras"),
            get(f"{SD}/embeddings"),
            get(f"{SD}/options"),
            post(
                f"{SD}/txt2img",
                {
                    "prompt": "a",
                    **SMALL,
                    "sampler_index": "Euler a",
                    "script_args": None,
                    "alwayson_scripts": {"controlnet": {"args": [PHOTOSHOP_UNIT] * 3}},
                },
                first_image,
            ),
            post(
                f"{SD}/img2img",
                {
                    "prompt": "a",
                    **SMALL,
                    "init_images": [IMAGE],
                    "mask": IMAGE,
                    "inpaint_full_res": True,
                    "inpaint_full_res_padding": 32,
                    "inpainting_fill": 1,
                    "mask_blur": 4,
                    "mask_expansion": 0,
                    "denoising_strength": 0.7,
                    "inpainting_mask_invert": 0,
                },
                first_image,
            ),
        ],
    ),
    Sequence_(
        "aiyabot",
        "core/settings.py, stablecog.py",
        "every list at start, txt2img with high-resolution fix",
        [
            *(
                get(f"{SD}/{name}")
                for name in (
                    "samplers",
                    "prompt-styles",
                    "face-restorers",
                    "embeddings",
                    "hypernetworks",
                    "upscalers",
                    "sd-models",
                    "cmd-flags",
                    "latent-upscale-modes",
                    "loras",
                )
            ),
            get("/config", status=404),
            post(f"{SD}/options", {"sd_model_checkpoint": "demo"}),
            post(
                f"{SD}/txt2img",
                {
                    "prompt": "a",
                    "negative_prompt": "",
                    **SMALL,
                    "cfg_scale": "7.0",
                    "sampler_index": "Euler",
                    "seed": 1,
                    "styles": ["None"],
                    "enable_hr": True,
                    "hr_upscaler": "Latent",
                    "hr_scale": 1,
                    "hr_second_pass_steps": 7.5,
                    "denoising_strength": 0.75,
                    "n_iter": 1,
                    "override_settings": {"CLIP_stop_at_last_layers": 1},
                },
                first_image,
            ),
        ],
    ),
    Sequence_(
        "SD.Next's command line",
        "cli/api-txt2img.py, api-info.py",
        "options, lists, txt2img, png-info, interrogate",
        [
            get(f"{SD}/options"),
            get(f"{SD}/cmd-flags"),
            get(f"{SD}/memory"),
            get(f"{SD}/scripts"),
            get(f"{SD}/script-info"),
            post(
                f"{SD}/txt2img",
                {"prompt": "a", "batch_size": 1, **SMALL, "sampler_name": "Default", "save_images": False},
                first_image,
            ),
            post(f"{SD}/png-info", {"image": IMAGE}, lambda answer: answer["info"] == ""),
            post(f"{SD}/interrogate", {"image": IMAGE, "model": "clip"}, status=501),
        ],
    ),
)
