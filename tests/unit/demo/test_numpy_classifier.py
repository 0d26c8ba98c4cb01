"""The judge without torch says what the judge with torch says."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from PIL import Image

from core.config.loader import PROJECT_ROOT
from core.demo import classifier, numpy_classifier, renderer, scenes
from core.demo.numpy_classifier import Obedience, obedience


def test_it_reads_as_the_recogniser_does() -> None:
    judge, dice = classifier.load(), random.Random(3)
    for k in range(25):
        image = renderer.render(scenes.sample(dice, held_out=None), *((256, 256), (128, 128), (320, 192))[k % 3], dice)
        assert numpy_classifier.read(image) == judge.read(image)
    noise = Image.effect_noise((200, 100), 80).convert("RGB")
    assert numpy_classifier.read(noise) == judge.read(noise)


def test_a_image_obeys_its_own_prompt_and_not_another(tmp_path: Path) -> None:
    scene = scenes.Scene("car", "blue", "left", "desert", "night", celestial="moon")
    renderer.render(scene, 256, 256, random.Random(1)).save(tmp_path / "a.png")
    assert obedience(tmp_path / "a.png", "a blue car in the desert at night, moon") == Obedience(5, 5)
    assert obedience(tmp_path / "a.png", "a red house in the desert by day") == Obedience(1, 4)
    assert obedience(tmp_path / "a.png", "an old man") is None


def test_it_needs_no_torch() -> None:
    code = "import sys, core.demo.numpy_classifier, core.studio, core.benchmark.report; print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, env=dict(os.environ), capture_output=True, text=True
    )
    assert run.stdout.strip() == "False", run.stderr
