"""The CFG scale has one meaning, 1 = off; `guidance_scale` means what the pipeline of the model's family means by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.config.cfg import as_cfg
from core.config.loader import Settings
from core.errors import OptionConflictError
from core.models.catalog import Catalog
from core.models.families import FAMILIES
from core.models.model_paths import places_of
from core.studio import Studio, bootstrap
from core.types import cfg_of, guidance_of, with_cfg

Z_IMAGE, SD = "demo", "sd15"


@pytest.fixture
def make_studio(make_settings: Callable[..., Settings]) -> Callable[..., Studio]:
    return lambda **values: bootstrap.build_studio(make_settings(**values))


@pytest.mark.parametrize(
    ("model", "values", "cfg"),
    [
        (Z_IMAGE, {}, 1.0),
        (Z_IMAGE, {"guidance_scale": 0}, 1.0),
        (Z_IMAGE, {"guidance_scale": 2.5}, 3.5),
        (Z_IMAGE, {"cfg_scale": 3.5}, 3.5),
        (Z_IMAGE, {"cfg_scale": 0.5}, 1.0),
        (Z_IMAGE, {"cfg_scale": 3.5, "guidance_scale": 2.5}, 3.5),
        (SD, {}, 7.5),
        (SD, {"guidance_scale": 0}, 1.0),
        (SD, {"guidance_scale": 7}, 7.0),
        (SD, {"cfg_scale": 7}, 7.0),
        (SD, {"cfg_scale": "auto", "guidance_scale": 1.1}, 1.1),
    ],
)
def test_cfg_of_a_request(make_studio: Callable[..., Studio], model: str, values: dict[str, Any], cfg: float) -> None:
    assert make_studio().requests.new({"model": model, "prompt": "x", **values}).cfg_scale == cfg


@pytest.mark.parametrize(("model", "cfg"), [(Z_IMAGE, 4.0), (SD, 3.0)])
def test_cfg_of_the_settings(make_studio: Callable[..., Studio], model: str, cfg: float) -> None:
    studio = make_studio(**{"generation.guidance_scale": 3})
    assert studio.requests.new({"model": model, "prompt": "x"}).cfg_scale == cfg
    assert studio.requests.new({"model": model, "prompt": "x", "cfg_scale": 6}).cfg_scale == 6


@pytest.mark.parametrize(("model", "guidance"), [(Z_IMAGE, 3.5), (SD, 2.5)])
def test_two_names_that_differ(make_studio: Callable[..., Studio], model: str, guidance: float) -> None:
    with pytest.raises(OptionConflictError) as caught:
        make_studio().requests.new({"model": model, "prompt": "x", "cfg_scale": 3.5, "guidance_scale": guidance})
    assert "cfg_scale = 3.5" in str(caught.value) and f"guidance_scale = {guidance}" in str(caught.value)


def test_rows_of_a_batch(make_studio: Callable[..., Studio]) -> None:
    rows = [{"prompt": "a", "guidance_scale": 2}, {"prompt": "b", "cfg": 3}, {"prompt": "c"}]
    batch = make_studio().requests.new_batch(rows, {"model": Z_IMAGE, "cfg_scale": 2})
    assert [single.cfg_scale for single in batch.per_image_requests()] == [3.0, 3.0, 2.0]


def test_names_in_one_place_mean_one_scale() -> None:
    assert as_cfg({"generation.guidance_scale": 2, "x": 1}, 0.0, "") == {"generation.cfg_scale": 2.0, "x": 1}
    assert as_cfg({"generation.guidance_scale": "auto"}, 1.0, "") == {}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.pipeline)
@pytest.mark.parametrize("cfg", [1.0, 1.1, 2.3, 7.5, 31.0])
def test_there_and_back(family: Any, cfg: float) -> None:
    assert cfg_of(guidance_of(cfg, family.cfg_offset), family.cfg_offset) == cfg


def test_fields_of_earlier_records() -> None:
    assert with_cfg({"guidance_scale": 0.1, "seed": 1}) == {"cfg_scale": 1.1, "seed": 1}
    assert with_cfg({"cfg_scale": 3.0}) == {"cfg_scale": 3.0}
    assert with_cfg({"guidance_scale": "much"}) == {"guidance_scale": "much"}, "left to the checks"


@pytest.mark.parametrize(
    ("written", "cfg"),
    [
        ("pipeline: ZImagePipeline\ndefaults: {guidance_scale: 4}", 5.0),
        ("pipeline: StableDiffusionPipeline\ndefaults: {guidance_scale: 4}", 4.0),
        ("pipeline: StableDiffusionPipeline\ndefaults: {cfg_scale: 4}", 4.0),
    ],
)
def test_default_of_an_entry(make_settings: Callable[..., Settings], configs: Path, written: str, cfg: float) -> None:
    (configs / "models" / "own.yaml").write_text(f"id: own\npath: nowhere\n{written}\n")
    settings = replace(make_settings(), configs=configs)
    assert Catalog(configs, places_of(settings)).find("own").default_cfg_scale == cfg
