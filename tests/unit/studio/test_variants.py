"""Variants of a model: grouped under it, and the one that suits a machine."""

from __future__ import annotations

from core.config.loader import PROJECT_ROOT
from core.models.catalog import Catalog
from core.studio.models import groups_of_variants, recommended_variant

GB = 10**9


def turbo():
    groups = groups_of_variants(Catalog(PROJECT_ROOT / "configs").models())
    return next(group for group in groups if group[0].id == "z-image-turbo")


def test_variants_stand_behind_their_model():
    assert [one.id for one in turbo()] == [
        "z-image-turbo", *(f"z-image-turbo-{name}" for name in ("bf16", "fp8", "q4", "q6", "q8")),
    ]  # fmt: skip


def test_the_largest_that_fits_is_recommended_and_else_the_smallest():
    selected = {memory: recommended_variant(turbo(), memory * GB).id for memory in (4, 12, 32)}
    assert selected == {4: "z-image-turbo-q4", 12: "z-image-turbo-q6", 32: "z-image-turbo-fp8"}
