"""Costs of the next image, predicted from past ones of a machine whose true costs are known."""

import math
import random

import pytest

from core.inference.workload import Workload
from core.studio.estimates import Sample, _weight, predicted_peak, predicted_seconds

HELD = ("cpu", "float32")


def work(side, steps=8, guided=False):
    pixels = side * side
    tokens = pixels / 256
    return Workload(
        {"text": 4e12, "steps": steps * (1 + guided) * (12e9 * tokens + 5e5 * tokens**2), "decode": 1e7 * pixels},
        pixels,
    )


def made(side, steps=8, noise=0.0, **options):
    """An image of a machine that computes large images somewhat faster, with tiles slower to decode."""
    one = work(side, steps)
    rate = 4e11 * (one.pixels / 1024**2) ** 0.1 * math.exp(noise)
    told = {phase: count / rate for phase, count in one.operations.items()}
    told["decode"] *= 1.4 if options.get("tiles") else 1.0
    return Sample(one, told, options, peak=int(9e8 + 700 * one.pixels), memory=HELD)


def test_mixed_images_are_predicted_within_a_tenth():
    dice, past = random.Random(5), []
    for k in range(60):
        side, tiles = dice.choice((512, 640, 768, 896, 1024)), dice.random() < 0.3
        true = made(side, dice.choice((4, 8, 12)), dice.gauss(0, 0.03), tiles=tiles)
        if k >= 20:
            found = predicted_seconds(true.work, true.options, past[::-1][:40])
            assert sum(found.values()) == pytest.approx(sum(true.seconds.values()), rel=0.1)
            assert predicted_peak(true.work, HELD, past, 0.0) == pytest.approx(true.peak, rel=0.02)
        past.append(true)


def test_nothing_is_predicted_without_images():
    assert predicted_seconds(work(512), {}, []) is None
    assert predicted_peak(work(512), HELD, [made(512)][:0], 100.0) is None
    assert predicted_peak(work(512), ("cuda", "bfloat16"), [made(512)], 100.0) is None, "held otherwise"


def test_images_with_the_same_options_tell_more():
    past = [made(512, tiles=True), *[made(512, tiles=False)] * 2, made(512, tiles=True)]
    for tiles in (True, False):
        assert predicted_seconds(work(512), {"tiles": tiles}, past)["decode"] == pytest.approx(
            made(512, tiles=tiles).seconds["decode"]
        )


def test_guidance_doubles_the_steps_and_not_the_decoding():
    plain, guided = (predicted_seconds(work(512, guided=on), {}, [made(512)]) for on in (False, True))
    assert guided["steps"] == 2 * plain["steps"] and guided["decode"] == plain["decode"]


def test_memory_of_one_size_grows_as_computed():
    assert predicted_peak(work(1024), HELD, [made(512)], 1000.0) == made(512).peak + 1000 * (1024**2 - 512**2)


def test_options_that_cost_no_time_do_not_count():
    one = made(512, **{"output.format": "png", "vae.enable_tiling": False})
    assert _weight(one, 0, one.work, {"output.format": "jpeg"}) == 1.0
    assert _weight(one, 0, one.work, {"vae.enable_tiling": True}) == 0.5
