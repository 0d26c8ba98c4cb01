"""List the LoRAs of the remote studio, which decides whether one can be used."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from core.config.lora_syntax import LoraSpec
from core.errors import LoraFileError, StudioError
from core.i18n import localize
from core.remote.catalog import FRESH_SECONDS
from core.remote.client import Remote
from core.types import LoraInfo, ModelInfo

log = logging.getLogger(__name__)


class RemoteLoras:
    """The LoRAs of a remote studio. Thread-safe. The remote studio decides whether one can be used."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._guard = threading.Lock()
        self._found: Sequence[LoraInfo] = ()
        self._asked = -FRESH_SECONDS

    def all(self) -> Sequence[LoraInfo]:
        """Return the LoRAs of the remote studio, or its last list while it does not answer."""
        with self._guard:
            if time.monotonic() - self._asked >= FRESH_SECONDS:
                self._found = self._ask()
                self._asked = time.monotonic()
            return self._found

    def check(self, uses: Sequence[LoraSpec], model: ModelInfo) -> None:
        """Do nothing: the remote studio checks requests."""

    def file_hash(self, name: str) -> str | None:
        """Return None: what is in the files is not known here."""
        return None

    def named(self, name: str, digest: str) -> str:
        """Return the name unchanged, because the files are not known here."""
        return name

    def preview(self, name: str) -> bytes | None:
        """Return None: the other studio's images are not here."""
        return None

    def remove(self, name: str) -> None:
        """Raise LoraFileError: LoRAs of a remote studio are removed there."""
        raise LoraFileError(name=name, problem=_THEIRS)

    def _ask(self) -> Sequence[LoraInfo]:
        try:
            return [_info(entry) for entry in self._remote.capabilities()["loras"]]
        except (StudioError, KeyError, TypeError, ValueError) as error:
            log.warning("the LoRAs of the other studio are not known: %s", error)
            return self._found


def _info(entry: Mapping[str, Any]) -> LoraInfo:
    known = {field.name: entry[field.name] for field in fields(LoraInfo) if field.name in entry}
    return LoraInfo(**{**known, "path": None, "problem": None, "own": False, "preview": False})


_THEIRS = localize("remote.loras.theirs")
