"""Axes of X/Y/Z plots: samplers and schedules, fields of ControlNet units."""

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


@pytest.mark.parametrize(
    ("key", "written", "values"),
    [
        ("generation.sampler", ["Euler a", "dpmpp_2m", "UniPC"], ["euler_ancestral", "dpmpp_2m", "unipc"]),
        ("generation.schedule", ["Karras", "sgm_uniform", "auto"], ["karras", "sgm_uniform", "auto"]),
        ("generation.variation_strength", ["0", "0.2"], [0.0, 0.2]),
        ("generation.prompt_syntax", ["a1111", "comfyui"], ["a1111", "comfyui"]),
    ],
)
def test_options_of_sampling_are_axes(key, written, values):
    """With names as A1111 spells them; each cell has its value, and its label the words of the page."""
    request = GenerationRequest("a house", options=load_settings().request_options())
    assert key in [axis.key for axis in sweep_axes.axes_of(request, ())]
    axis = sweep_axes.read(key, written, request)
    assert [sweep_axes.applied(request, axis, value).options[key] for value in axis.values] == values


def test_unknown_sampler_of_an_axis_is_refused():
    request = GenerationRequest("a house", options=load_settings().request_options())
    with pytest.raises(OptionError, match="allowed: auto, euler"):
        sweep_axes.read("generation.sampler", ["euler", "Restart"], request)
