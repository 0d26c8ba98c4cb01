"""Families are found by their folders, and nothing else names one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.config.loader import PROJECT_ROOT
from core.config.options import SCHEMA
from core.models.families import DEFAULT, FAMILIES, backend_of

PACKAGE = PROJECT_ROOT / "core" / "models" / "families"
# The embedded model and its training are a Z-Image; a benchmark of random weights at true size builds one.
BUILDS_ONE = ("core/demo/", "core/bench/random_weights.py")
NAMED = re.compile(r"ZImage|Z_IMAGE|z_image|StableDiffusion|stable_diffusion")


def sources():
    for folder in ("core", "ui"):
        for path in (PROJECT_ROOT / folder).rglob("*.py"):
            name = path.relative_to(PROJECT_ROOT).as_posix()
            if PACKAGE not in path.parents and not name.startswith(BUILDS_ONE):
                yield name, path


def code_of(path: Path) -> str:
    """The file without its comments and docstrings of a line of their own."""
    text = re.sub(r'"""[\s\S]*?"""', "", path.read_text(encoding="utf-8"))
    return re.sub(r"#.*", "", text)


def test_nothing_outside_a_familys_folder_names_a_pipeline_class():
    found = {name: NAMED.findall(code_of(path)) for name, path in sources()}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_no_list_of_families_by_hand():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "description.py").is_file()}
    assert folders == {family.folder for family in FAMILIES.values()} and len(folders) >= 2
    named = (
        (PACKAGE / "__init__.py").read_text() + (PACKAGE / "base.py").read_text() + (PACKAGE / "backend.py").read_text()
    )
    assert not [folder for folder in folders if f"import {folder}" in named or f"families.{folder}" in named]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_description_is_complete(family):
    assert {"scheduler", "vae", family.denoiser} <= set(family.parts)
    assert set(family.unused).isdisjoint(family.parts)
    assert backend_of(family.pipeline).family is family
    assert family.plain is None or family.plain in FAMILIES
    for prefix, reason in family.cannot.items():
        assert any(key.startswith(prefix) for key in SCHEMA.options), f"no option begins with {prefix}"
        assert set(reason) == {"en", "zh"}


def test_one_family_is_the_default():
    assert [family for family in FAMILIES.values() if family.default] == [DEFAULT]


def test_descriptions_are_read_without_torch():
    code = "import core.models.families, sys; print([name for name in ('torch', 'diffusers') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True)
    assert told.stdout.strip() == "[]"
