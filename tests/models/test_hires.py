"""A second pass for high resolution: drawn small, enlarged, drawn over, as one image of the size asked for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from core.errors import Cancelled, OptionError
from core.studio import request_checks
from core.types import ModelInfo, Phase, ResumeState
from tests.models.test_img2img import family, hole, own, pixels, scene
from tests.options import measured

__all__ = ["family", "own"]  # fixtures
ON = {"hires.enabled": True, "hires.scale": 2.0, "hires.denoising_strength": 0.5}


@pytest.mark.by_default("demo-lanczos", "sdxl-nearest")
@pytest.mark.option("hires.enabled", "hires.scale", "hires.denoising_strength", "hires.upscaler")
@pytest.mark.parametrize("upscaler", ["lanczos", "nearest"])
@pytest.mark.by_default("demo-lanczos")
def test_it_is_the_small_image_enlarged_and_refined(own, family, request_of, upscaler):
    """Each of the two passes is the image that it would be alone."""
    size = {"width": 160, "height": 128}
    seen = []
    both = own.generate(
        request_of(model=family[0], changed={**ON, "hires.upscaler": upscaler}, **size), seen.append
    ).images[0]
    small = own.generate(request_of(model=family[0], width=80, height=64)).images[0]
    large = small.image.resize((160, 128), Image.Resampling[upscaler.upper()])
    over = own.generate(
        request_of(model=family[0], changed={"img2img.denoising_strength": 0.5}, **size),
        attempt=ResumeState(inputs={"image": large}),
    ).images[0]
    assert np.array_equal(pixels(both.image), pixels(over.image))
    assert both.image.size == both.rendered_size == (160, 128)
    assert both.effective["hires.base_size"] == list(small.rendered_size)
    assert both.effective["hires.steps_run"] == over.effective["img2img.steps"] == 2
    measured("hires.enabled", "160x128 generated at 80x64 first, then img2img: each pass equals the same run alone")
    measured("hires.scale", "2: the first pass of 160x128 has 80x64 pixels")
    measured("hires.denoising_strength", "0.5: the second pass runs 2 of 4 steps")
    measured("hires.upscaler", "lanczos, nearest: the second pass begins from Pillow's own enlargement")
    steps = [told.step for told in seen if told.phase is Phase.STEPS]
    assert steps == sorted(steps) and {told.steps for told in seen if told.phase is Phase.STEPS} == {6}
    fractions = [told.fraction for told in seen if told.phase in (Phase.STEPS, Phase.DECODE)]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0, "one progress"


@pytest.mark.option("hires.steps")
def test_its_steps_are_its_own(own, request_of):
    seen = []
    request = request_of(width=128, height=128, changed={**ON, "hires.steps": 10})
    image = own.generate(request, seen.append).images[0]
    assert image.effective["hires.steps_run"] == 5
    assert max(told.step for told in seen) == 4 + 5
    measured("hires.steps", "10 at strength 0.5: 5 run after the first pass's 4")


@pytest.mark.by_default("False-size1", "True-size0")
@pytest.mark.parametrize("size", [(131, 150), (256, 130)])
@pytest.mark.parametrize("exact", [True, False])
def test_any_size_is_delivered_exactly(own, request_of, size, exact):
    changed = {**ON, "hires.scale": 1.75, "force_original_resolution": exact}
    image = own.generate(request_of(width=size[0], height=size[1], changed=changed)).images[0]
    assert image.image.size == size
    assert all(0 <= generated - asked < 16 for generated, asked in zip(image.rendered_size, size, strict=True))


def test_off_changes_no_pixel(own, request_of):
    plain = own.generate(request_of()).images[0]
    other = own.generate(request_of(changed={"hires.scale": 3.0, "hires.denoising_strength": 0.9})).images[0]
    assert np.array_equal(pixels(plain.image), pixels(other.image)) and "hires.base_size" not in plain.effective


def test_within_a_mask_the_rest_stays_the_inputs_own(own, request_of):
    given = {"image": scene((160, 128)), "mask_image": hole((160, 128))}
    request = request_of(width=160, height=128, changed=ON)
    image = own.generate(request, attempt=ResumeState(inputs=given)).images[0]
    black = pixels(given["mask_image"])[..., 0] == 0
    assert np.array_equal(pixels(image.image)[black], pixels(given["image"])[black])
    assert not np.array_equal(pixels(image.image)[~black], pixels(given["image"])[~black])


def test_a_cancel_ends_the_second_pass_too(own, request_of):
    seen = []
    with pytest.raises(Cancelled):
        own.generate(
            request_of(width=128, height=128, changed=ON), seen.append, lambda: bool(seen) and seen[-1].step >= 5
        )
    assert max(told.step for told in seen) == 5


@pytest.mark.parametrize(
    ("changed", "inputs", "key"),
    [
        ({"hires.scale": 4.0}, ("image",), "hires.scale"),
        ({"hires.denoising_strength": 0.0}, ("image",), "hires.denoising_strength"),
        ({}, (), "hires.enabled"),
    ],
)
def test_what_cannot_be_generated_is_reported_before_the_run(request_of, changed, inputs, key):
    model = ModelInfo("demo", {}, {}, None, 128, 128, 8, 0.0, 16, 1024, "ZImagePipeline", inputs=inputs)
    request = request_of(width=128, height=200, changed={**ON, **changed})
    with pytest.raises(OptionError) as error:
        request_checks.check(request, model)
    assert error.value.values["key"] == key
    request_checks.check(request_of(width=128, height=200, changed=changed), model)
