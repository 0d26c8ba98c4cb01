"""A toy repository behind stand-in hubs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.models.families import FAMILIES
from tests.pipelines import Z_IMAGE
from tests.unit.hub.fake_hub import Hub, serving

PARTS = FAMILIES[Z_IMAGE].parts


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is loopback here, no person's token is used, and nobody waits as long as with a real hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for variable in ("HF_TOKEN", "MODELSCOPE_API_TOKEN", "HF_ENDPOINT", "MODELSCOPE_DOMAIN"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Return a repository of a ZImagePipeline: what is needed, in 32 and 16 bits, and what is not."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": Z_IMAGE}))
    (folder / "README.md").write_text("not needed")
    for part, told in PARTS.items():
        (folder / part).mkdir()
        (folder / part / told.config).write_text(json.dumps({"part": part}))
    random = np.random.default_rng(0)
    for part in FAMILIES[Z_IMAGE].weighty:
        values = random.standard_normal((64, 200)).astype(np.float32)
        save_file({"weight": values}, folder / part / "model.safetensors")
        save_file({"weight": values.astype(np.float16)}, folder / part / "model.bf16.safetensors")
    (folder / "vae" / "model.bin").write_bytes(b"\x80\x04never fetched")
    return folder


@pytest.fixture
def hub(toy: Path) -> Iterator[Hub]:
    with serving(toy) as hub:
        yield hub
