"""Variation seed, noise on the prompt embeds, first steps on a shortened prompt: neutral at 0, reproducible, visible."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from core.config.loader import PROJECT_ROOT
from core.inference.generator import build_generator
from core.inference.variety import short_steps, shortened, slerp, varied_img2img
from core.types import ResumeState
from tests.options import measured

from .family_contract import pixels, scene

SMALL = {"width": 64, "height": 64}


def test_slerp():
    one, two = (torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    assert torch.allclose(slerp(0.0, one, two), one, atol=1e-6) and torch.allclose(slerp(1.0, one, two), two, atol=1e-6)
    assert float(slerp(0.5, one, two).std()) == pytest.approx(1.0, abs=0.03), "a plain mean would have 0.7"
    assert torch.equal(slerp(0.3, one, one), one)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_slerp_is_that_of_a1111(share):
    """A1111 takes the angle of each column of a (channels, height, width) sample: `dim=1` in its rng.py."""
    one, two = (torch.randn(16, 12, 8, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    for channel in range(16):
        for column in range(8):
            low, high = one[channel, :, column], two[channel, :, column]
            angle = torch.acos(torch.dot(low, high) / (low.norm() * high.norm()))
            wanted = (torch.sin((1 - share) * angle) * low + torch.sin(share * angle) * high) / torch.sin(angle)
            for sample in (slerp(share, one, two), slerp(share, one[None], two[None])[0]):
                assert torch.allclose(sample[channel, :, column], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "first"),
    [
        ("a red house, snowy mountains, day", "a red house"),
        ("红色的房子，雪山", "红色的房子"),
        ("a red house by the sea", "a red house"),
        ("a red house by the sea.", "a red house"),
        ("红色的房子和雪山", "红色的房"),
        ("house", "hou"),
    ],
)
def test_shortened(prompt, first):
    assert shortened(prompt) == first


@pytest.mark.parametrize(("share", "steps", "run"), [(0.0, 8, 0), (0.25, 8, 2), (0.5, 1, 0), (0.05, 8, 0), (0.5, 8, 4)])
def test_short_steps(share, steps, run):
    assert short_steps({"generation.short_prompt_steps": share}, steps) == run


@pytest.mark.parametrize("scheduler", [FlowMatchEulerDiscreteScheduler(), diffusers.DDIMScheduler()])
def test_noise_of_img2img_is_varied_and_comes_back(scheduler):
    name = "scale_noise" if hasattr(scheduler, "scale_noise") else "add_noise"
    scheduler.set_timesteps(4)
    if name == "scale_noise":
        scheduler.set_begin_index(0)
    sample, noise, time = torch.zeros(1, 4, 8, 8), torch.randn(1, 4, 8, 8), scheduler.timesteps[:1]
    given = (sample, time, noise) if name == "scale_noise" else (sample, noise, time)
    before = getattr(scheduler, name)(*given)
    changed = []
    for strength in (0.0, 0.5):
        with varied_img2img(scheduler, {"generation.variation_strength": strength, "generation.variation_seed": 3}):
            changed.append(not torch.equal(getattr(scheduler, name)(*given), before))
    assert changed == [False, True]
    assert torch.equal(getattr(scheduler, name)(*given), before)


@pytest.fixture(scope="module")
def own():
    return build_generator(PROJECT_ROOT / "configs")


@pytest.mark.option("generation.variation_strength", "generation.variation_seed")
def test_variation_goes_from_one_seed_to_the_other(own, request_of):
    def made(seed=7, strength=0.0, other=0):
        changed = {"generation.variation_strength": strength, "generation.variation_seed": other}
        return pixels(own.generate(request_of(seed=seed, changed=changed, **SMALL)).images[0].image)

    whole = made()
    assert np.array_equal(made(other=9), whole), "without strength the variation seed does nothing"
    gaps = [np.abs(made(strength=share, other=9) - whole).mean() for share in (0.2, 0.6)]
    assert 0 < gaps[0] < gaps[1]
    assert np.abs(made(strength=1.0, other=9) - made(seed=9)).mean() < 1
    assert np.array_equal(made(strength=0.2, other=9), made(strength=0.2, other=9))
    measured(
        "generation.variation_strength", f"0.2 and 0.6: pixels {gaps[0]:.1f} and {gaps[1]:.1f}/255 from the seed's own"
    )
    measured("generation.variation_seed", "strength 1: the image of the variation seed")


@pytest.mark.option("generation.prompt_noise")
def test_prompt_noise(own, request_of):
    def made(strength, **fields):
        return own.generate(request_of(changed={"generation.prompt_noise": strength}, **SMALL, **fields)).images

    whole, (noisy,) = made(0.0)[0], made(0.5)
    gap = np.abs(pixels(noisy.image) - pixels(whole.image)).mean()
    assert gap > 0
    assert np.array_equal(pixels(made(0.5, num_images=2)[1].image), pixels(made(0.5, seed=8)[0].image))
    assert np.array_equal(pixels(made(0.0)[0].image), pixels(whole.image)), "the kept embeds are unchanged"
    measured("generation.prompt_noise", f"0.5: pixels {gap:.1f}/255 away, repeatable by the seed")


@pytest.mark.option("generation.short_prompt_steps")
def test_first_steps_on_a_shortened_prompt(own, request_of):
    """As plain diffusers does with both embeds, exchanged by its callback."""
    prompt = "a red house, snowy mountains, day"
    request = request_of(prompt, changed={"generation.short_prompt_steps": 0.5}, **SMALL)
    image = pixels(own.generate(request).images[0].image)
    plain = diffusers.ZImagePipeline(**own.loaded.pipeline.components)
    plain.set_progress_bar_config(disable=True)
    device = torch.device("cpu")
    whole, short = (
        plain.encode_prompt([text], device=device, do_classifier_free_guidance=False)[0]
        for text in (prompt, "a red house")
    )
    theirs = plain(
        prompt_embeds=short, num_inference_steps=4, guidance_scale=0.0, generator=torch.Generator().manual_seed(7), **SMALL,
        callback_on_step_end=lambda pipe, index, time, tensors: {"prompt_embeds": whole} if index == 1 else {},
    ).images[0]  # fmt: skip
    assert np.array_equal(image, pixels(theirs))
    gap = np.abs(image - pixels(own.generate(request_of(prompt, **SMALL)).images[0].image)).mean()
    assert gap > 0
    measured("generation.short_prompt_steps", f"0.5: pixels {gap:.1f}/255 away, as plain diffusers with both embeds")


def test_img2img_is_varied(own, request_of):
    images = []
    for strength in (0.0, 0.5):
        changed = {"generation.variation_strength": strength, "generation.variation_seed": 5}
        attempt = ResumeState(inputs={"image": scene()})
        images.append(pixels(own.generate(request_of(changed=changed, **SMALL), attempt=attempt).images[0].image))
    assert not np.array_equal(*images)
