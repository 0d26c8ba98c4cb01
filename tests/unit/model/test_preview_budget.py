"""The budget of previews, on a clock of its own: what they take together, and that slow steps get one each."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.model.preview import GROWTH, SHARE, SIDE, WRITING_SECONDS, PreviewBudget, Previewer

seconds = st.floats(0.001, 20.0)


def shown(steps: list[float], cost: float) -> list[int]:
    """After which steps (from 1) a preview is drawn, when it takes `cost` seconds."""
    now = 0.0
    budget = PreviewBudget(lambda: now)
    drawn = []
    for number, step in enumerate(steps, start=1):
        now += step
        if budget.allows(cost):
            now += cost
            budget.pay(cost)
            drawn.append(number)
    return drawn


@given(st.lists(seconds, min_size=1, max_size=60), st.floats(0.0001, 2.0))
def test_all_together_never_take_more_than_their_share(steps, cost):
    assert len(shown(steps, cost)) * (cost + WRITING_SECONDS) <= SHARE * sum(steps) + 1e-9


def test_the_first_comes_as_early_as_it_may_and_slow_steps_have_one_each():
    assert shown([2.0] * 5, 0.004) == [1, 2, 3, 4, 5], "a real model"
    assert shown([0.035] * 8, 0.0007) == [2, 4, 6, 7], "the embedded one"
    assert shown([0.001] * 20, 0.0007) == [], "steps of a millisecond pay for none"


def test_one_that_took_longer_than_expected_is_waited_for():
    now = 0.0
    budget = PreviewBudget(lambda: now)
    now = 1.0
    assert budget.allows(0.001)
    budget.pay(0.1)  # it was to be a millisecond
    now = 1.1 + 3.9
    assert not budget.allows(0.001)
    now = 1.1 + 4.2
    assert budget.allows(0.001)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 40), (128, 128), (256, 64), (1, 300)])
def test_a_preview_grows_with_the_latents_up_to_its_side(height, width):
    drawn = Previewer(torch.eye(16)[:, :3], torch.zeros(3)).draw(torch.rand(1, 16, height, width))
    scale = min(GROWTH, SIDE / max(height, width))
    assert Image.open(io.BytesIO(drawn)).size == (max(1, round(width * scale)), max(1, round(height * scale)))


def test_its_colours_are_the_projection():
    latents = torch.zeros(1, 16, 16, 16)
    latents[0, 0], latents[0, 1] = 1.0, 0.5
    previewer = Previewer(torch.eye(16)[:, :3], torch.zeros(3))
    colour = Image.open(io.BytesIO(previewer.draw(latents))).convert("RGB").getpixel((16, 16))
    assert all(abs(found - wanted) < 12 for found, wanted in zip(colour, (255, 128, 0), strict=True))
    assert previewer.seconds > 0
