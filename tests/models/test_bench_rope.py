"""The bench of positions, at a size that takes a second, and the measure of repetition that it prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from core.bench import rope
from core.cli import main
from core.demo.repetition import repetition


@pytest.mark.slow
def test_every_scaling_gets_the_same_prompts_at_two_and_three_times_the_side(capfd):
    line = "bench rope --side 128 --prompts 1 --steps 1 --minutes 2 --set vae.dtype=bfloat16"
    assert main.main(line.split()) == 0
    said = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (said["base"], said["steps"]) == (128, 1)
    assert [(row["times"], row["method"]) for row in said["rows"]] == [
        (1, "none"),
        *((times, method) for times in (2, 3) for method in rope.METHODS),
    ]
    for row in said["rows"]:
        assert row["prompts"] >= 1 and 0 <= row["score"] <= 1 and 0 <= row["repetition"] <= 1
    twice = {row["method"]: row["repetition"] for row in said["rows"] if row["times"] == 2}
    assert len(set(twice.values())) > 1, "the scalings draw different images"


def test_copies_count_as_repetition_and_one_thing_does_not():
    one = np.full((256, 256, 3), 200, np.uint8)
    one[100:150, 30:80] = (200, 0, 0)
    two = one.copy()
    two[100:150, 180:230] = (200, 0, 0)
    assert repetition(Image.fromarray(one)) < 0.2 < 0.6 < repetition(Image.fromarray(two))
