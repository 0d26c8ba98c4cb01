"""With neutral options an image is plain diffusers' own, bit for bit."""

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline

from core.inference import latent_preview
from tests.models.conftest import WEIGHTS
from tests.options import measured


def generated_by(pipeline, request):
    """The same request, given to diffusers directly."""
    return pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.cfg_scale - 1,
        generator=torch.Generator().manual_seed(request.seed),
    ).images[0]


def same(one, other):
    return one.size == other.size and np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.option(
    "generation.prompt",
    "generation.width",
    "generation.height",
    "generation.num_inference_steps",
    "generation.guidance_scale",
    "generation.cfg_scale",
    "generation.seed",
)
@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "夜晚，雪地，黄色的灯塔", "width": 192, "height": 160, "num_inference_steps": 8},
        {"width": 160, "height": 112, "seed": 2**40},
        {"cfg_scale": 3.5, "negative_prompt": "mountains"},
        {"cfg_scale": 2.0, "num_inference_steps": 1},
        {"prompt": "🎈 שלום\nline two", "seed": 0},
    ],
)
def test_equals_plain_diffusers(generator, plain, request_of, fields):
    request = request_of(**fields)
    ours = generator.generate(request).images[0].image
    assert same(ours, generated_by(plain, request))
    for key in ("prompt", "width", "height", "num_inference_steps", "cfg_scale", "seed"):
        measured(f"generation.{key}", "five different requests: every pixel is plain diffusers' own")


@pytest.mark.option("model.dtype")
def test_equals_plain_diffusers_in_bfloat16(generator, request_of):
    request = request_of(changed={"model.dtype": "bfloat16"})
    pipeline = ZImagePipeline.from_pretrained(WEIGHTS, dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    assert same(generator.generate(request).images[0].image, generated_by(pipeline, request))


@pytest.mark.slow
def test_equals_a_process_that_never_saw_our_code(generator, request_of):
    request = request_of(prompt="一辆蓝色的车，沙漠，白天")
    program = f"""
import hashlib, sys, torch
from diffusers import ZImagePipeline
pipeline = ZImagePipeline.from_pretrained(sys.argv[1], dtype=torch.float32)
size = dict(width={request.width}, height={request.height})
image = pipeline(prompt={request.prompt!r}, **size, num_inference_steps=4, guidance_scale=0.0,
                 generator=torch.Generator().manual_seed(7)).images[0]
assert not any(name == "core" or name.startswith("core.") for name in sys.modules)
print(hashlib.sha256(image.tobytes()).hexdigest())
"""
    run = subprocess.run([sys.executable, "-c", program, str(WEIGHTS)], capture_output=True, text=True, cwd="/")
    ours = generator.generate(request).images[0].image
    assert run.stdout.strip().splitlines()[-1:] == [hashlib.sha256(ours.tobytes()).hexdigest()], run.stderr


@pytest.mark.option("generation.num_images")
def test_image_k_of_a_batch_is_the_single_image_of_its_seed(generator, request_of):
    batch = generator.generate(request_of(num_images=3)).images
    assert [image.request.seed for image in batch] == [7, 8, 9]
    assert same(batch[2].image, generator.generate(request_of(seed=9)).images[0].image)
    assert not same(batch[0].image, batch[1].image)
    measured("generation.num_images", "3: seeds 7, 8, 9; the third is the single image of seed 9, bit for bit")


def test_twice_the_same(generator, request_of):
    first, second = (generator.generate(request_of()).images[0].image for _ in range(2))
    assert same(first, second)


@pytest.mark.option("preview.enabled")
def test_previews_change_no_pixel(generator, request_of, monkeypatch):
    monkeypatch.setattr(latent_preview, "SHARE", math.inf)
    previews = []
    shown = generator.generate(request_of(), on_progress=lambda p: previews.append(p.preview)).images[0].image
    hidden = generator.generate(request_of(changed={"preview.enabled": False})).images[0].image
    assert same(shown, hidden)
    assert sum(generated is not None for generated in previews) == 4
    measured("preview.enabled", "four previews in four steps, none when off; no pixel of the result differs")
