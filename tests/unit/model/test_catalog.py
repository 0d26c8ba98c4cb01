"""The catalogue: shipped entries, folders by path, and what it says of unknown ones."""

import pytest

from core.config.layers import PROJECT_ROOT
from core.errors import ModelFileError, UnknownModelError
from core.model.catalog import Catalog


@pytest.fixture
def catalog():
    return Catalog(PROJECT_ROOT / "configs")


def test_embedded_model_comes_first_and_can_be_used(catalog):
    demo = catalog.models()[0]
    assert demo.id == "demo"
    assert demo.problem is None
    assert demo.default_width >= 256
    assert demo.max_side >= 1024


def test_real_model_says_what_is_missing(catalog, monkeypatch):
    monkeypatch.setattr("core.model.catalog._cached_snapshot", lambda repository: None)
    turbo = catalog.find("z-image-turbo")
    assert (turbo.default_width, turbo.default_steps, turbo.default_guidance) == (1024, 8, 0.0)
    assert isinstance(turbo.problem, ModelFileError)


@pytest.mark.option("model.id")
def test_a_folder_by_its_path(catalog):
    info = catalog.find(str(PROJECT_ROOT / "core" / "demo" / "weights"))
    assert info.problem is None


def test_a_folder_that_is_no_model(catalog, tmp_path):
    assert isinstance(catalog.find(str(tmp_path)).problem, ModelFileError)


def test_unknown_id(catalog):
    with pytest.raises(UnknownModelError, match="demo"):
        catalog.find("demmo")
