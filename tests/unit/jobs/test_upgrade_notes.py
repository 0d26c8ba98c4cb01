"""An image of a job for which a file was replaced after the job had begun says so, for each kind of file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.config.options import SCHEMA
from core.history import used_files
from core.jobs.runner import _OPTIONS, _with_upgrade
from tests.unit.storage.conftest import build_image

CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "lora": ({"lora.files": [{"name": "ink", "sha256": "{}"}]}, "lora.use", "ink"),
    "embedding": ({"embedding.files": [{"name": "moody", "sha256": "{}"}]}, "generation.prompt", "moody"),
    "controlnet": ({"controlnet.files": [{"name": "canny", "hash": "{}"}]}, "controlnet.units", "canny"),
    "preprocessor": ({"preprocessor.files": [{"name": "depth", "hash": "{}"}]}, "controlnet.preprocessor", "depth"),
    "upscaler": ({"hires.upscaled_with": "twice ({})"}, "hires.upscaler", "twice"),
    "weights": ({"model.weights": {"vae": "{}", "transformer": "same"}}, "model.id", "vae"),
    "parts of earlier records": ({"model.files": {"vae": "{}"}}, "model.id", "vae"),
    "fingerprint of earlier records": ({"model.fingerprint": "{}"}, "model.id", "model"),
}


def filled(value: Any, digest: str) -> Any:
    if isinstance(value, dict):
        return {key: filled(one, digest) for key, one in value.items()}
    return [filled(one, digest) for one in value] if isinstance(value, list) else value.replace("{}", digest)


@pytest.mark.parametrize("case", CASES)
def test_replaced_file_is_noted(case: str) -> None:
    effective, option, name = CASES[case]
    old, new = filled(effective, "a" * 10), filled(effective, "b" * 10)
    image = replace(build_image(), effective=new)
    assert _with_upgrade(image, new) == image and _with_upgrade(image, {}) == image
    (note,) = _with_upgrade(image, old).decisions[len(image.decisions) :]
    assert (note.option, note.requested, note.effective) == (option, "a" * 10, "b" * 10)
    assert f"({name})" in note.reason["en"] and f"（{name}）" in note.reason["zh"]


def test_every_kind_has_its_option() -> None:
    assert set(_OPTIONS) == {used_files.MODEL, *used_files.KINDS}
    assert set(_OPTIONS.values()) <= set(SCHEMA.options)
