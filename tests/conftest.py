"""What all tests share: no network, no settings of the person who runs them, no outputs in the project."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from core.config.layers import ENVIRONMENT_PREFIX, PROJECT_ROOT, Settings, load_settings

os.environ["HF_HUB_OFFLINE"] = "1"
for variable in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
    del os.environ[variable]

# A machine under load makes single examples slow; derandomized, so that a red run is red again.
hypothesis_settings.register_profile("studio", deadline=None, derandomize=True, max_examples=60)
hypothesis_settings.load_profile("studio")


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A configs folder of the test's own: the shipped models and profiles, no YAML files, so that all is default."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for name in ("models", "profiles"):
        shutil.copytree(PROJECT_ROOT / "configs" / name, folder / name)
    return folder


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Shipped settings with an output folder of the test's own; keyword `values` go on top."""

    def make(**values: object) -> Settings:
        return load_settings(overrides={"output.directory": str(tmp_path / "outputs"), **values})

    return make
