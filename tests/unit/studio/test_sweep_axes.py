"""Axes of ControlNet units in X/Y/Z plots."""

import pytest

from core.config.loader import load_settings
from core.errors import OptionError
from core.studio import sweep_axes
from core.types import GenerationRequest


@pytest.fixture(scope="module")
def request_with_units():
    options = {**load_settings().request_options(), "controlnet.units": ("one:0.5:start=0.2", "two")}
    return GenerationRequest("a house", options=options)


def test_units_are_axes(request_with_units):
    keys = [axis.key for axis in sweep_axes.axes_of(request_with_units, ())]
    assert "controlnet.units:1:weight" in keys and "controlnet.units:2:end" in keys
    axis = sweep_axes.read("controlnet.units:1:weight", ["0", "0.75"], request_with_units)
    applied = sweep_axes.applied(request_with_units, axis, "0.75")
    assert applied.options["controlnet.units"] == ("one:0.75:start=0.2", "two")
    assert sweep_axes.label(axis.key)["en"] == "ControlNet 1: weight"


@pytest.mark.parametrize(
    ("key", "value"), [("1:weight", "3"), ("1:end", "0.1"), ("3:weight", "1"), ("1:name", "x"), ("2:mode", "x")]
)
def test_values_that_cannot_be_used(request_with_units, key, value):
    with pytest.raises(OptionError):
        sweep_axes.read(f"controlnet.units:{key}", [value], request_with_units)
