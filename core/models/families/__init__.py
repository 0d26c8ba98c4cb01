"""Find the model families: each is a folder of this package with a `description.py` and a `backend.py`.

A new family is a new folder; nothing here or elsewhere lists them.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from core.models.families.base import Family

if TYPE_CHECKING:  # torch, which pages do not load
    from core.models.families.backend import Backend


def _discover() -> dict[str, Family]:
    """Read the descriptions of all folders. Raises ValueError when two describe the same pipeline class."""
    found: dict[str, Family] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            continue
        for family in import_module(f"{__name__}.{module.name}.description").FAMILIES:
            if family.pipeline in found:
                raise ValueError(f"{family.pipeline} is described twice, the second time in {module.name}")
            found[family.pipeline] = family
    return dict(sorted(found.items(), key=lambda item: not item[1].default))  # the default first, else by folder


FAMILIES: Mapping[str, Family] = _discover()  # by the name of the pipeline class, as model_index.json has it
DEFAULT = next(family for family in FAMILIES.values() if family.default)  # for a model whose files are not here yet


@cache
def backend_of(pipeline: str) -> Backend:
    """Return the code that runs models of this pipeline class. Imports torch."""
    family = FAMILIES[pipeline]
    backend: Callable[[Family], Backend] = import_module(f"{__name__}.{family.folder}.backend").BACKEND
    return backend(family)
