"""The models of the studio that draws for this one; while it does not answer, the entries of this one's own catalogue.

What this module does not know: how a model is loaded, pages.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

from core.errors import StudioError, UnknownModelError
from core.remote.client import Remote
from core.types import ModelInfo

FRESH_SECONDS = 30.0  # between two questions; a page asks at each run

log = logging.getLogger(__name__)


class Entries(Protocol):
    """What is needed of this studio's own catalogue."""

    def models(self) -> Sequence[ModelInfo]: ...


class RemoteCatalog:
    """Thread-safe. Whether a model can be used is for the other studio to say: nothing is refused for its sake here."""

    def __init__(self, remote: Remote, own: Entries) -> None:
        self._remote = remote
        self._own = own
        self._guard = threading.Lock()
        self._found: Sequence[ModelInfo] = ()
        self._asked = -FRESH_SECONDS

    def models(self) -> Sequence[ModelInfo]:
        """Those that the other studio has."""
        with self._guard:
            if time.monotonic() - self._asked >= FRESH_SECONDS:
                self._found = self._ask()
                self._asked = time.monotonic()
            return self._found

    def find(self, model: str) -> ModelInfo:
        """One of them; UnknownModelError."""
        known = {info.id: info for info in self.models()}
        if model not in known:
            raise UnknownModelError(came=model[:200], known=", ".join(known))
        return known[model]

    def conditions(self, model: str) -> Mapping[str, Any]:
        """Nothing: what decides the pixels there is known when the picture comes back."""
        return {}

    def _ask(self) -> Sequence[ModelInfo]:
        try:
            return [_info(entry) for entry in self._remote.capabilities()["models"]]
        except (StudioError, KeyError, TypeError, ValueError) as error:
            log.warning("the models of the other studio are not known: %s", error)
            return self._found or [replace(info, problem=None) for info in self._own.models()]


def _info(entry: Mapping[str, Any]) -> ModelInfo:
    known = {field.name: entry[field.name] for field in fields(ModelInfo) if field.name in entry}
    return ModelInfo(**{**known, "path": None, "problem": None})
