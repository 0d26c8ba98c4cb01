"""The budget of previews, on a clock of its own: what they take together, and that slow steps get one each."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.inference.latent_preview import GROWTH, SHARE, SIDE, TRUST, PreviewBudget, Previewer

seconds = st.floats(0.001, 20.0)
HANDING = 0.001  # seconds of a report without a preview


def a_previewer(cost: float) -> Previewer:
    """One whose last preview took so long that this is expected of an image's first."""
    made = Previewer(torch.eye(16)[:, :3], torch.zeros(3))
    made.seconds = cost / TRUST
    return made


def shown(
    steps: list[float], drawing: float, handing: float = 0.0, every: int = 1, previewer: Previewer | None = None
) -> list[int]:
    """After which steps (from 1) a preview is drawn, when that takes so many seconds and its report so many more."""
    now = 0.0
    budget = PreviewBudget(previewer or a_previewer(drawing + handing), lambda: now)
    generated = []

    def draw(_previewer: Previewer) -> bytes:
        nonlocal now
        now += drawing
        return b"image"

    def send(preview: bytes | None) -> None:
        nonlocal now
        now += HANDING + (handing if preview else 0.0)
        if preview:
            generated.append(number)

    for number, step in enumerate(steps, start=1):
        now += step
        budget.report(send, draw if number % every == 0 else None)
    return generated


@given(st.lists(seconds, min_size=1, max_size=60), st.floats(0.0001, 1.0), st.floats(0.0, 1.0))
def test_all_together_never_take_more_than_their_share(steps, drawing, handing):
    all_time = sum(steps) + HANDING * len(steps)
    assert len(shown(steps, drawing, handing)) * (drawing + handing) <= SHARE * all_time + HANDING + 1e-9


def test_the_share_is_half_of_what_is_promised():
    """What a preview makes slower elsewhere (a cache, a disk, the page that fetches it) has room in the other half."""
    assert SHARE == 0.01


def test_slow_steps_have_one_each_and_short_ones_some():
    assert shown([2.0] * 5, 0.004, 0.002) == [1, 2, 3, 4, 5], "a real model"
    assert shown([2.0] * 9, 0.004, 0.002, every=3) == [3, 6, 9]
    assert shown([0.045] * 8, 0.0004, 0.0006) == [3, 5, 7], "the embedded one"
    assert shown([0.001] * 20, 0.0004, 0.0006) == [], "steps of a millisecond pay for none"


def test_how_much_longer_its_report_takes_is_counted():
    assert len(shown([0.1] * 20, 0.001, 0.0)) > len(shown([0.1] * 20, 0.001, 0.004)) > 0


def test_one_that_took_longer_than_expected_is_waited_for_and_forgotten_in_time():
    previewer = a_previewer(0.001)
    assert shown([0.1] * 50, 0.02, previewer=previewer) == [1, 42], "it was to be a millisecond"
    images = [shown([0.1] * 10, 0.001, previewer=previewer) for _ in range(10)]
    assert images[0] == [], "a second of steps does not pay what the last one took"
    assert len(images[-1]) > 4, "each image expects a tenth less"


@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 40), (128, 128), (256, 64), (1, 300)])
def test_a_preview_grows_with_the_latents_up_to_its_side(height, width):
    generated = a_previewer(0.001).draw(torch.rand(1, 16, height, width))
    scale = min(GROWTH, SIDE / max(height, width))
    assert Image.open(io.BytesIO(generated)).size == (max(1, round(width * scale)), max(1, round(height * scale)))


def test_its_colours_are_the_projection_of_the_clean_image():
    clean = torch.zeros(1, 16, 16, 16)
    clean[0, 0], clean[0, 1] = 1.0, 0.5
    previewer = a_previewer(0.001)
    colour = Image.open(io.BytesIO(previewer.draw(clean))).convert("RGB").getpixel((16, 16))
    assert all(abs(found - wanted) < 12 for found, wanted in zip(colour, (255, 128, 0), strict=True))
    assert previewer.seconds > 0
