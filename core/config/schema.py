"""Define what an option is, and the checks that follow from its declaration.

The declarations themselves are in `options/`; the panels, the YAML files, the command line, the metadata and the docs are all
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from core.errors import OptionConflictError, OptionError, UnknownOptionError
from core.i18n import localize

AUTO: Final = "auto"  # the value of an option that is resolved later (from the model or the machine), with a reason

HIDDEN = "••••"  # stands for the value of a secret option

Text = Mapping[str, str]  # language -> words
Entries = Callable[
    [Sequence[str], str], object
]  # a list's entries and their source; OptionError for what makes no sense


Need = tuple[str, tuple[Any, ...]]  # key of another option, and the values with which this one has an effect


class TakesEffect(StrEnum):
    """When a changed value acts."""

    REQUEST = "request"  # on the next image
    LIVE = "live"  # applied to the loaded pipeline before the next image
    RELOAD = "reload"  # the model is loaded again
    START = "start"  # when the app starts again


@dataclass(frozen=True)
class Option:
    """One option, declared once.

    `key` is its dotted path in YAML; `file` the shipped file that lists it; `panel` where the page offers it ("basic",
    "advanced" or "" for nowhere). `auto` allows the value "auto". Numbers have both
    bounds, texts the `maximum` of their characters; `entries` reads a list's own. `implemented` is False while an option is
    accepted but has no effect yet: pages then show it greyed, and setting it away from the default is reported. The value
    of a `secret` one is never shown, whoever asks, and not taken from a command line, which every user of a machine can read.
    `former` are the keys that the option had in earlier versions: read for ever, written never.
    `synonyms` are words of other programs that the search finds it by; `level` is how deep the page puts it. It has an
    effect only while all of `needs` hold.
    """

    key: str
    type: Literal["bool", "int", "float", "str", "choice", "list"]
    default: Any
    label: Text
    help: Text
    takes_effect: TakesEffect
    file: Literal["config", "advanced_config", "ui_config", "service_config"]
    panel: Literal["basic", "advanced", ""] = ""
    group: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    auto: bool = False
    implemented: bool = True
    secret: bool = False
    entries: Entries | None = None
    aliases: tuple[str, ...] = ()
    spellings: Callable[[str], str | None] | None = None  # another program's name for a choice -> the choice
    former: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    level: Literal["basic", "advanced", "expert"] = "advanced"
    needs: tuple[Need, ...] = ()

    def unmet(self, values: Mapping[str, Any]) -> Need | None:
        """Return the first of `needs` that these values (by key) do not meet; None if the option has an effect."""
        return next((need for need in self.needs if values.get(need[0]) not in need[1]), None)

    def matches(self, search: str) -> bool:
        """Return True if every word of `search` is in its key, names, synonyms or help, in either language."""
        texts = (self.key, *self.aliases, *self.synonyms, *self.label.values(), *self.help.values())
        return all(part in " ".join(texts).lower() for part in search.lower().split())

    @property
    def allowed(self) -> Text:
        """Return a short text of the allowed values, such as "a whole number from 64 to 8192 px"."""
        return {language: f"{AUTO}, {words}" if self.auto else words for language, words in self._allowed().items()}

    def _allowed(self) -> Text:
        if self.type == "bool":
            return _same("true, false")
        if self.type == "choice":
            return _same(", ".join(self.choices))
        if self.type == "list":
            return localize("config.schema.list")
        if self.type == "str":
            return localize("config.text_of_at_most", most=f"{self.maximum:g}")
        low, high = _plain(self.minimum), _plain(self.maximum)
        return localize(f"config.schema.{self.type}", low=low, high=high, unit=self.unit and f" {self.unit}")

    def check(self, value: Any, source: str) -> Any:
        """Return the value in the type of the option. Raises OptionError with source, key, value and allowed values."""
        if self.auto and value == AUTO:
            return AUTO
        try:
            converted = self._convert(value)
        except (TypeError, ValueError, OverflowError):
            shown = HIDDEN if self.secret else _shorten(value)
            raise OptionError(source=source, key=self.key, value=shown, allowed=self.allowed) from None
        if self.entries is not None:
            self.entries(converted, source)
        return converted

    def _convert(self, value: Any) -> Any:
        if self.type == "bool":
            return _boolean(value)
        if self.type == "int":
            return self._in_range(_whole(value))
        if self.type == "float":
            return self._in_range(_finite(value))
        if self.type == "choice":
            if isinstance(value, str) and value not in self.choices and self.spellings is not None:
                value = self.spellings(value)
            return _one_of(value, self.choices)
        if self.type == "list":
            return _texts(value)
        return self._short_enough(value)

    def _in_range(self, number: Any) -> Any:
        if (self.minimum is not None and number < self.minimum) or (self.maximum is not None and number > self.maximum):
            raise ValueError(number)
        return number

    def _short_enough(self, value: Any) -> str:
        if not isinstance(value, str) or (self.maximum is not None and len(value) > self.maximum):
            raise ValueError(value)
        return value


def _boolean(value: Any) -> bool:
    words = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False, "1": True, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in words:  # from the environment and the command line
        return words[value.strip().lower()]
    raise ValueError(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def _finite(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _one_of(value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(value)
    return value


def _texts(value: Any) -> tuple[str, ...]:
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError(value)
    return tuple(item for item in items if item)


def conflict(source: str, option: Option, one: str, other: str, first: Any, second: Any) -> OptionConflictError:
    """Return the error for two names of one option that are given different values."""
    shown = [HIDDEN if option.secret else _shorten(value) for value in (first, second)]
    return OptionConflictError(source=source, key=option.key, one=one, first=shown[0], other=other, second=shown[1])


def _same(words: str) -> Text:
    return {"en": words, "zh": words}


def _plain(number: float | None) -> str:
    return str(int(number)) if number is not None and float(number).is_integer() else str(number)


def _shorten(value: Any, length: int = 60) -> str:
    try:
        words = repr(value)
    except ValueError:  # a number of thousands of digits
        words = "a number without end"
    return words if len(words) <= length else words[: length - 1] + "…"


class Schema:
    """All options by key, with the aliases that lead to them."""

    def __init__(self, options: tuple[Option, ...]) -> None:
        self.options: Mapping[str, Option] = {option.key: option for option in options}
        self._former = {former: option.key for option in options for former in option.former}
        self._aliases = self._collect_aliases(options)

    @staticmethod
    def _collect_aliases(options: tuple[Option, ...]) -> dict[str, str]:
        """Return former keys, declared aliases, and each last part of a key that one option alone has or had.

        An example of the last is `use_rope` for `transformer.use_rope`.
        """
        leaves: dict[str, set[str]] = {}
        for option in options:
            for key in (option.key, *option.former):
                leaves.setdefault(key.rsplit(".", 1)[-1], set()).add(option.key)
        aliases = {leaf: next(iter(keys)) for leaf, keys in leaves.items() if len(keys) == 1}
        aliases.update({name: option.key for option in options for name in (*option.former, *option.aliases)})
        return aliases

    def find(self, key: str, source: str) -> Option:
        """Return the option of a key or alias. Raises UnknownOptionError naming the nearest known key."""
        option = self.options.get(self.canonical(key))
        if option is None:
            raise UnknownOptionError(source=source, key=key, nearest=self.nearest(key))
        return option

    def canonical(self, key: str) -> str:
        """Return the key that an alias stands for; an unknown key is returned unchanged."""
        return key if key in self.options else self._aliases.get(key, key)

    def current(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return stored `values` under the keys that their options have now; lists become tuples, as the schema has them.

        Only whole former keys are translated, never short names: a record may hold other facts beside options.
        """
        return {
            self._former.get(key, key): tuple(value) if isinstance(value, list) else value
            for key, value in values.items()
        }

    def current_key(self, key: str) -> str:
        """Return the key that the option of a stored `key` has now."""
        return self._former.get(key, key)

    def spellings(self, key: str) -> tuple[str, ...]:
        """Return every key under which a value of this option may be stored, the present one first."""
        option = self.options.get(self.current_key(key))
        return (key,) if option is None else (option.key, *option.former)

    def checked(self, values: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Return `values`, given by key, former key or alias, by key and in the options' own types.

        Raises:
            OptionError, UnknownOptionError: A value or a key cannot be used.
            OptionConflictError: Two names of one option are given with different values.
        """
        found: dict[str, Any] = {}
        names: dict[str, str] = {}
        for name, value in values.items():
            option = self.find(name, source)
            checked = option.check(value, source)
            if option.key in found and found[option.key] != checked:
                raise conflict(source, option, names[option.key], name, found[option.key], checked)
            found[option.key], names[option.key] = checked, name
        return found

    def nearest(self, key: str) -> str:
        """Return the most similar known key, by the whole key or by its last part."""
        names = {**{known: known for known in self.options}, **self._aliases}
        close = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
        leaf = difflib.get_close_matches(key.rsplit(".", 1)[-1], names, n=1, cutoff=0.7)
        return names[(leaf or close)[0]]

    def defaults(self) -> dict[str, Any]:
        """Return every key with its default."""
        return {key: option.default for key, option in self.options.items()}

    def panel(self, name: str) -> tuple[Option, ...]:
        """Return the options of a panel, in the order of their declaration."""
        return tuple(option for option in self.options.values() if option.panel == name)

    def request_options(self) -> tuple[Option, ...]:
        """Return the options that travel in `GenerationRequest.options`: those of the advanced panel."""
        return self.panel("advanced")
