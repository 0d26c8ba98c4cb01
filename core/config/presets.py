"""Store presets: named sets of generation settings.

They are the shipped profiles, the studio's own as YAML files in one folder, and those of each user in a folder below it.
"""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.loader import Settings, parse_yaml, profile_names, profile_values, to_yaml
from core.config.options import SCHEMA
from core.errors import NotWritableError, OptionError, UnknownOptionError
from core.i18n import localize

FOLDER = "presets"  # in the output folder
MAX_NAME = 60  # characters
SOURCE = "preset"
_CFG = {"generation.guidance_scale", "generation.cfg_scale"}
_LEFT_OUT = ("generation.prompt", "generation.seed")  # what belongs to one image
_NAME = localize("config.presets.name", max_name=MAX_NAME)


@dataclass(frozen=True)
class Preset:
    """One set of values by schema key. `shipped` ones can't be changed or deleted."""

    name: str
    values: Mapping[str, Any]
    shipped: bool = False


class Presets:
    """The presets of one studio, read from disk at each call."""

    def __init__(self, settings: Settings, user: str = "") -> None:
        """Open the presets; with `user` (the client of a user's jobs) also those that this user alone has."""
        self._configs = settings.configs
        self._shared = settings.output_directory / FOLDER
        self._folder = self._shared / user.replace(":", "-") if user else self._shared

    def names(self) -> list[str]:
        """Return the names of all presets: own ones, those that users share, shipped ones."""
        written = [path.stem for folder in (self._folder, self._shared) for path in sorted(folder.glob("*.yaml"))]
        return list(dict.fromkeys([*written, *profile_names(self._configs)]))

    def is_own(self, name: str) -> bool:
        """Return True for a preset that `save` and `delete` can change."""
        return self._path(name).exists()

    def is_shipped(self, name: str) -> bool:
        """Return True for a shipped preset."""
        return name in profile_names(self._configs) and self._file(name) is None

    def get(self, name: str, source: str = SOURCE) -> Preset:
        """Return the preset of that name.

        Raises:
            UnknownOptionError: there is none, with the names that there are.
            InputError: its file can't be read or holds a value that can't be used.
        """
        if name in self.names():
            path = self._file(name)
            if path is not None:
                return Preset(name, _checked(_read(path), f"{FOLDER}/{path.name}"))
            return Preset(name, _kept(profile_values(self._configs, name, source)), shipped=True)
        raise UnknownOptionError(source=source, key=name, nearest=", ".join(self.names()) or "none")

    def under(self, name: str, given: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Return what the preset sets and `given` (by key or alias) does not, with `given` over it."""
        named = {SCHEMA.canonical(key) for key in given}
        if named & _CFG:  # two names of one number: who gives either wins
            named |= _CFG
        values = self.get(name, source).values
        return {**{key: value for key, value in values.items() if key not in named}, **given}

    def save(self, name: str, values: Mapping[str, Any]) -> Preset:
        """Write `values` (by schema key) under a name, over an own preset of that name; prompt and seed are left out.

        Raises:
            OptionError: the name can't be used, or a value.
            NotWritableError: the folder can't be written to.
        """
        name = self._usable(name)
        checked = _checked(values, SOURCE)
        self._write(name, to_yaml(checked))
        return Preset(name, checked)

    def delete(self, name: str) -> None:
        """Delete an own preset.

        Raises:
            UnknownOptionError: there is no own preset of that name.
        """
        path = self._path(name)
        if name not in self.names() or not path.exists():
            raise UnknownOptionError(source=SOURCE, key=name, nearest=", ".join(self.names()) or "none")
        path.unlink(missing_ok=True)

    def export(self, name: str) -> str:
        """Return the preset as YAML, as `import_yaml` takes it."""
        return to_yaml(self.get(name).values)

    def import_yaml(self, text: str, name: str) -> Preset:
        """Save what a YAML text sets under a name; every key and value is checked first."""
        return self.save(name, parse_yaml(text, name))

    def _usable(self, name: str) -> str:
        plain = unicodedata.normalize("NFC", " ".join(name.split()))
        usable = bool(plain) and len(plain) <= MAX_NAME and plain[0] not in ". " and plain[-1] not in ". "
        if not usable or not all(sign.isalnum() or sign in " -_.()" for sign in plain) or self.is_shipped(plain):
            raise OptionError(source=SOURCE, key="name", value=name[:MAX_NAME], allowed=_NAME)
        return plain

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.yaml"

    def _file(self, name: str) -> Path | None:
        """Return the file of a preset, the user's own first; None for a shipped one."""
        return next((path for path in (self._path(name), self._shared / f"{name}.yaml") if path.exists()), None)

    def _write(self, name: str, text: str) -> None:
        path = self._path(name)
        temporary = path.with_name(f".{os.getpid()}.tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise NotWritableError(path=path) from error


def _read(path: Path) -> dict[str, Any]:
    return parse_yaml(path.read_text(encoding="utf-8", errors="replace"), f"{FOLDER}/{path.name}")


def _checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the values by their own keys, in their own types."""
    found = {}
    for key, value in values.items():
        option = SCHEMA.find(key, source)
        found[option.key] = option.check(value, source)
    return _kept(found)


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a preset may hold: the model, the settings of an image, its advanced options."""
    keys = {"model.id", *(option.key for option in SCHEMA.request_options())}
    return {
        key: value
        for key, value in values.items()
        if key not in _LEFT_OUT and (key in keys or key.startswith("generation."))
    }
