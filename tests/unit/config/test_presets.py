"""Presets: saved, read back, exported, imported; names and values that can't be used are refused."""

from __future__ import annotations

import pytest

from core.config.loader import load_settings, profile_names
from core.config.presets import Presets
from core.errors import InputError, OptionError, UnknownOptionError

VALUES = {"generation.num_inference_steps": 5, "vae.enable_tiling": True, "model.id": "demo"}


@pytest.fixture
def presets(tmp_path):
    return Presets(load_settings(overrides={"output.directory": str(tmp_path)}))


def test_save_get_export_import_delete(presets):
    presets.save("人像 2-3", {**VALUES, "generation.prompt": "a house", "generation.seed": 3})
    assert presets.get("人像 2-3").values == VALUES, "a prompt and a seed belong to one image"
    again = presets.import_yaml(presets.export("人像 2-3"), "copy")
    assert again.values == VALUES and presets.names()[:2] == ["copy", "人像 2-3"]
    presets.save("copy", {"generation.num_inference_steps": 9})
    assert presets.get("copy").values == {"generation.num_inference_steps": 9}
    presets.delete("copy")
    with pytest.raises(UnknownOptionError):
        presets.get("copy")


def test_shipped_profiles_are_presets_that_stay_as_they_are(presets):
    for name in profile_names(presets._configs):
        assert presets.get(name).shipped and presets.get(name).values
        with pytest.raises(OptionError):
            presets.save(name, VALUES)
        with pytest.raises(UnknownOptionError):
            presets.delete(name)


@pytest.mark.parametrize("name", ["", "  ", "a/b", "..", "a\\b", "x" * 61, ".hidden", "a:b", "a\0b"])
def test_names_that_cannot_be_used(presets, name):
    with pytest.raises(OptionError):
        presets.save(name, VALUES)


@pytest.mark.parametrize(
    "text", ["vae: 3", "nothing: 1", "generation:\n  width: 1", "- a", "a: [", "generation: {steps: x}"]
)
def test_yaml_that_cannot_be_used_is_refused_and_nothing_is_saved(presets, text):
    with pytest.raises(InputError):
        presets.import_yaml(text, "new")
    assert "new" not in presets.names()


def test_what_is_given_wins_over_the_preset(presets):
    presets.save(
        "mine", {"generation.guidance_scale": 2.0, "generation.num_inference_steps": 5, "vae.enable_tiling": True}
    )
    assert presets.under("mine", {"cfg": 3, "steps": 7}, "test") == {"vae.enable_tiling": True, "cfg": 3, "steps": 7}
    with pytest.raises(UnknownOptionError):
        presets.under("none of it", {}, "test")
