"""Images in figures: what is wrong is found, and what is meant to be dark or orange is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from core.config.loader import PROJECT_ROOT
from core.history.image_quality import look

SAMPLES = sorted((PROJECT_ROOT / "ui" / "assets" / "samples").glob("*.webp"))


def image(kind: str) -> Image.Image:
    """A sample with the fault planted."""
    good = np.asarray(Image.open(SAMPLES[0]).convert("RGB")).astype(float)
    grey = good.mean(axis=2, keepdims=True).repeat(3, axis=2)
    planted = {
        "black": good * 0.03,
        "flat": good * 0 + (90, 120, 40),
        "grey": grey,
        "cast": grey * 0.6 + (90, 40, 0),
        "good": good,
    }[kind]
    return Image.fromarray(planted.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("kind", ["black", "flat", "grey", "cast"])
def test_a_planted_fault_is_found(kind: str, tmp_path: Path) -> None:
    image(kind).save(tmp_path / "a.png")
    assert look(tmp_path / "a.png").fault == kind


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_good_images_have_none(path: Path) -> None:
    found = look(path)
    assert found.fault is None
    with Image.open(path) as image:
        assert (found.width, found.height) == image.size


def test_a_file_that_changed_is_looked_at_again(tmp_path: Path) -> None:
    image("good").save(tmp_path / "a.png")
    assert look(tmp_path / "a.png").fault is None
    image("black").resize((64, 48)).save(tmp_path / "a.png")
    assert look(tmp_path / "a.png").fault == "black"


def test_sharpness_and_clipping(tmp_path: Path) -> None:
    good = image("good")
    for name, one in (("sharp", good), ("soft", good.filter(ImageFilter.GaussianBlur(2)))):
        one.save(tmp_path / f"{name}.png")
    assert look(tmp_path / "sharp.png").sharpness > 2 * look(tmp_path / "soft.png").sharpness > 0
    pixels = np.full((100, 100, 3), 128, np.uint8)
    pixels[:25], pixels[25:30] = 255, 0
    Image.fromarray(pixels).save(tmp_path / "clipped.png")
    assert look(tmp_path / "clipped.png").clipped == pytest.approx(0.3)
    assert look(tmp_path / "clipped.png").sharpness == pytest.approx((127 + 255 + 255 + 128 + 128) / 98, abs=8)
    Image.new("RGB", (2, 2)).save(tmp_path / "tiny.png")
    assert look(tmp_path / "tiny.png").sharpness == 0
