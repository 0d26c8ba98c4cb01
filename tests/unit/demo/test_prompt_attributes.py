"""What a prompt asks for is what its caption was made of, and nothing else."""

from __future__ import annotations

import random

import pytest

from core.demo import captions, scenes
from core.demo.numpy_classifier import attributes


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_captions_are_read_back_without_a_mistake(language: str) -> None:
    dice = random.Random(12)
    for _ in range(1500):
        scene = scenes.sample(dice, held_out=None)
        text, named = captions.caption(scene, dice, language)
        assert attributes(text) == {name: value for name, value in scene.attributes().items() if name in named}, text


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a portrait of a woman, oil on canvas", {}),
        ("", {}),
        ("紅色的房子，日落，雪山", {"kind": "house", "color": "red", "time": "sunset", "mountains": "snowy"}),
        ("a red house and a red house and a car", {}),  # more than two things
        ("a house at night, at noon", {"kind": "house"}),  # two times: neither is asked
        ("the carpet is red", {}),
        ("左边的房子和树", {"kind": "house", "kind2": "tree"}),  # whose place is it?
        ("a house with purple flowers", {"kind": "house", "ground": "lavender"}),
    ],
)
def test_what_is_unclear_is_not_asked(prompt: str, asked: dict[str, str]) -> None:
    assert attributes(prompt) == asked
