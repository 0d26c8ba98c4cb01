"""The shipped files list every option with its default, and the profiles say what they promise."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.config.loader import PROJECT_ROOT, SHIPPED_FILES, load_settings, parse_yaml
from core.config.options import SCHEMA

CONFIGS = PROJECT_ROOT / "configs"


def values_of(path: Path) -> dict[str, Any]:
    return parse_yaml(path.read_text(encoding="utf-8"), path.name)


@pytest.mark.parametrize("name", SHIPPED_FILES)
def test_a_file_lists_its_options_with_their_defaults_and_nothing_else(name: str) -> None:
    declared = {key: option for key, option in SCHEMA.options.items() if f"{option.file}.yaml" == name}
    listed = values_of(CONFIGS / name)
    assert list(listed) == sorted(listed, key=list(declared).index), "in the order of the schema"
    assert set(listed) == set(declared)
    assert {key: option.check(listed[key], name) for key, option in declared.items()} == {
        key: option.default for key, option in declared.items()
    }


@pytest.mark.parametrize("name", SHIPPED_FILES)
def test_every_line_with_a_value_has_a_comment_in_both_languages(name: str) -> None:
    lines = (CONFIGS / name).read_text(encoding="utf-8").splitlines()
    for before, line in pairwise(lines):
        if line.strip() and not line.strip().startswith("#") and not line.endswith(":"):
            assert before.strip().startswith("# "), line


def test_the_shipped_files_have_no_problems() -> None:
    assert load_settings(CONFIGS).problems == ()


@pytest.mark.parametrize("path", sorted((CONFIGS / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_profile_has_no_problems_and_changes_something(path: Path) -> None:
    settings = load_settings(CONFIGS, profile=path.stem)
    changed = [key for key, origin in settings.origins.items() if origin == f"profiles/{path.name}"]
    assert not [problem for problem in settings.problems if path.name in str(problem)]
    assert any(settings[key] != SCHEMA.options[key].default for key in changed)
    assert all(SCHEMA.options[key].implemented for key in changed), "a profile sets only what has an effect"


def test_the_guide_profile_has_the_guides_values(configs: Path) -> None:
    settings = load_settings(configs, profile="guide")
    assert {key: settings[key] for key, origin in settings.origins.items() if origin == "profiles/guide.yaml"} == {
        "generation.num_inference_steps": 12,
        "generation.cfg_scale": 6.5,
        "force_original_resolution": True,
        "transformer.use_rope": True,
        "vae.enable_tiling": True,
        "vae.tile_sample_min_size": 256,
        "vae.tile_overlap_factor": 0.125,
        "vae.decoder_tiling": True,
        "vae.decoder_tile_size": 384,
    }
