"""The file always has the size that was asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.inference.resolution import ROOM, SMALLEST_SIDE, deliver, fitting_size, rendered_size

sides = st.integers(64, 8192)


@given(sides, sides)
def test_exact_rendering_takes_the_next_multiple(width, height):
    rendered = rendered_size(width, height, 16, None, 8192)
    for asked, generated in zip((width, height), rendered, strict=True):
        assert generated % 16 == 0
        assert 0 <= generated - asked < 16


@given(sides, sides)
def test_native_rendering_keeps_to_the_budget_and_the_limits(width, height):
    rendered_width, rendered_height = rendered_size(width, height, 16, 256 * 256, 8192)
    for side in (rendered_width, rendered_height):
        assert side % 16 == 0
        assert SMALLEST_SIDE <= side <= 8192
    if max(width / height, height / width) < 4:
        assert rendered_width * rendered_height == pytest.approx(256 * 256, rel=0.2)


@pytest.mark.parametrize("size", [(1000, 701), (64, 2048), (2048, 64), (255, 257), (256, 256)])
@pytest.mark.parametrize("native", [None, 65536])
def test_delivered_size(size, native):
    generated = rendered_size(*size, 16, native, 2048)
    assert deliver(Image.new("RGB", generated), *size, resize=native is not None).size == size


def test_cut_is_from_the_centre():
    image = Image.new("L", (16, 16))
    image.putpixel((8, 8), 255)
    assert deliver(image, 2, 2, resize=False).getpixel((1, 1)) == 255


@given(st.integers(16, 8192), st.integers(16, 8192))
def test_an_image_is_refined_at_its_own_size_or_at_the_models(width, height):
    native = 1024 * 1024
    fit = fitting_size((width, height), native, 16, 2048)
    if fit != (width, height):
        assert width * height > ROOM * native or min(width, height) < SMALLEST_SIDE or max(width, height) > 2048
        assert all(SMALLEST_SIDE <= side <= 2048 and side % 16 == 0 for side in fit)
    assert fitting_size((1000, 750), native, 16, 2048) == (1000, 750)
    assert fitting_size((4000, 3000), native, 16, 2048) == (1184, 880)
