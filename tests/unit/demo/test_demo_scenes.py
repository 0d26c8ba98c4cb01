"""The world: what can be drawn, that it is drawn the same way twice, and the split."""

import random
from itertools import product

import pytest
from PIL import ImageChops

from core.demo import renderer, scenes
from core.demo.scenes import COLORS, GROUNDS, KINDS, NONE, TIMES, Scene


def a_scene(**changes: str) -> Scene:
    attributes = {"kind": "house", "color": "red", "position": "left", "ground": "meadow", "time": "day"}
    return Scene(**(attributes | changes))


def test_same_scene_size_and_seed_give_the_same_pixels():
    scene = scenes.sample(random.Random(5))
    first, second = (renderer.render(scene, 256, 144, random.Random(1)) for _ in range(2))
    assert first.size == (256, 144)
    assert ImageChops.difference(first, second).getbbox() is None


def test_about_a_tenth_of_the_combinations_is_held_out():
    combinations = list(product(KINDS, COLORS, GROUNDS, TIMES))
    share = sum(scenes.is_held_out(*c) for c in combinations) / len(combinations)
    assert 0.09 <= share <= 0.11


@pytest.mark.parametrize("held_out", [True, False])
def test_sampling_keeps_to_its_side_of_the_split(held_out):
    rng = random.Random(0)
    assert all(scenes.sample(rng, held_out).held_out is held_out for _ in range(200))


def test_every_value_of_every_attribute_is_sampled():
    rng = random.Random(0)
    seen = [scenes.sample(rng, None).attributes() for _ in range(800)]
    for name, values in scenes.ATTRIBUTES.items():
        assert {s[name] for s in seen} == set(values)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in scenes.ATTRIBUTES.items() for v in values])
def test_every_value_can_be_drawn_at_every_ratio(name, value):
    changes = {name: value}
    if name in ("kind2", "color2") and value != NONE:
        changes = {"kind2": "tree", "color2": "white"} | changes
    if name == "celestial" and value != NONE:
        changes["time"] = "dawn"
    for size in ((96, 64), (64, 96)):
        image = renderer.render(a_scene(**changes), *size, random.Random(0))
        assert image.size == size
        assert image.mode == "RGB"


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "cat"},
        {"kind2": "tree"},
        {"position": "centre", "kind2": "tree", "color2": "white"},
        {"time": "night", "celestial": "sun"},
    ],
)
def test_an_impossible_scene_is_refused(changes):
    with pytest.raises(ValueError, match=r"\w"):
        a_scene(**changes)


def test_an_attribute_changes_the_image():
    plain = renderer.render(a_scene(), 128, 128, random.Random(0))
    for changes in ({"color": "blue"}, {"kind": "tent"}, {"position": "right"}, {"weather": "snow"}, {"time": "night"}):
        other = renderer.render(a_scene(**changes), 128, 128, random.Random(0))
        assert ImageChops.difference(plain, other).getbbox() is not None
