"""List the models and LoRAs of the remote studio; while it does not answer, the entries of the local catalogue."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from typing import Any, Protocol

from core.config.lora_syntax import LoraSpec
from core.errors import InputError, LoraFileError, ServerRefusedError, StudioError, UnknownModelError
from core.i18n import localize
from core.remote.client import Remote
from core.types import LoraInfo, ModelInfo

FRESH_SECONDS = 30.0  # between two questions; a page asks at each run

log = logging.getLogger(__name__)


class Entries(Protocol):
    """The methods of this studio's own catalogue that the remote one uses."""

    def models(self) -> Sequence[ModelInfo]: ...


class RemoteCatalog:
    """The models of a remote studio. Thread-safe. The remote studio decides whether a model can be used."""

    def __init__(self, remote: Remote, own: Entries) -> None:
        self._remote = remote
        self._own = own
        self._guard = threading.Lock()
        self._found: Sequence[ModelInfo] = ()
        self._asked = -FRESH_SECONDS
        self._prompt_problems: Mapping[str, Mapping[str, str] | None] = {}

    @property
    def remote(self) -> Remote:
        """Return the client."""
        return self._remote

    def models(self) -> Sequence[ModelInfo]:
        """Return the models of the remote studio."""
        with self._guard:
            if time.monotonic() - self._asked >= FRESH_SECONDS:
                self._found = self._ask()
                self._asked = time.monotonic()
            return self._found

    def ids(self) -> Sequence[str]:
        """Return the ids of the models."""
        return [info.id for info in self.models()]

    def remembering(self) -> AbstractContextManager[None]:
        """Do nothing: the models are remembered anyway."""
        return nullcontext()

    def find(self, model: str) -> ModelInfo:
        """Return one of them. Raises UnknownModelError."""
        known = {info.id: info for info in self.models()}
        if model not in known:
            raise UnknownModelError(value=model[:200], known=", ".join(known))
        return known[model]

    def conditions(self, model: str) -> Mapping[str, Any]:
        """Return nothing: the record of the finished image tells what decided its pixels."""
        return {}

    def problems(self) -> Sequence[InputError]:
        """Return nothing: the remote studio reports its own files."""
        return ()

    def add(self, path: str, model: str | None = None) -> ModelInfo:
        """Raise ServerRefusedError, which says where to add models."""
        raise ServerRefusedError(server=self._remote.address, reason=_THEIRS)

    def forget(self, model: str) -> bool:
        """Return False: no entry of the remote studio can be removed here."""
        return False

    def prompt_problem(self, model: str) -> Mapping[str, str] | None:
        """Return why the remote studio can't write prompts with a model; None if it can. Raises UnknownModelError."""
        found = self.find(model)  # which asks the other studio, if it is time
        return self._prompt_problems.get(found.id, _NO_PROMPTS)

    def _ask(self) -> Sequence[ModelInfo]:
        try:
            entries = self._remote.capabilities()["models"]
            self._prompt_problems = {entry["id"]: entry.get("prompt_problem", _NO_PROMPTS) for entry in entries}
            return [_info(entry) for entry in entries]
        except (StudioError, KeyError, TypeError, ValueError) as error:
            log.warning("the models of the other studio are not known: %s", error)
            return self._found or [_there(info) for info in self._own.models()]


def _info(entry: Mapping[str, Any]) -> ModelInfo:
    known = {field.name: entry[field.name] for field in fields(ModelInfo) if field.name in entry}
    return _there(ModelInfo(**{"path": None, **known}))  # the paths of its files are unknown


def _there(info: ModelInfo) -> ModelInfo:
    """As an entry of the other studio: nothing of it lies here, and nothing is fetched for it or removed from here."""
    return replace(
        info, path=None, base=None, frame=None, problem=None, place="server", sources={}, revisions={}, own=False
    )


_NO_PROMPTS = localize("remote.catalog.no_prompts")  # of an older studio, and of one that does not answer
_THEIRS = localize("remote.catalog.theirs")


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
        raise LoraFileError(name=name, problem=_THEIR_LORA)

    def _ask(self) -> Sequence[LoraInfo]:
        try:
            return [_lora_info(entry) for entry in self._remote.capabilities()["loras"]]
        except (StudioError, KeyError, TypeError, ValueError) as error:
            log.warning("the LoRAs of the other studio are not known: %s", error)
            return self._found


def _lora_info(entry: Mapping[str, Any]) -> LoraInfo:
    known = {field.name: entry[field.name] for field in fields(LoraInfo) if field.name in entry}
    return LoraInfo(**{**known, "path": None, "problem": None, "own": False, "preview": False})


_THEIR_LORA = localize("remote.catalog.theirs_lora")
