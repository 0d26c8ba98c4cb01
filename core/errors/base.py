"""What all errors have in common: a code, values, and a sentence in each language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.i18n import catalogue


class Cancelled(Exception):
    """Raised inside a generation when the user cancelled it."""


class StudioError(Exception):
    """The root of all errors that a user can meet.

    The sentence comes from the catalogue (`core.i18n`, key "errors." and the class name, or that of the nearest base
    class), filled with the values given to the constructor. A value that reads differently in the two languages is given
    as a mapping from language to text.
    """

    def __init__(self, **values: Any) -> None:
        self.values = {name: _plain(value) for name, value in values.items()}
        super().__init__(self.message("en"))

    @property
    def code(self) -> str:
        """The name under which the error is stored."""
        return type(self).__name__

    def message(self, language: str = "en") -> str:
        """One line in `language` ("zh" or "en")."""
        words = {name: self.said(name, language) for name in self.values}
        return " ".join(self.template(language).format(**words).split())

    @classmethod
    def template(cls, language: str) -> str:
        """Return the sentence of this class with its placeholders, in `language`."""
        texts = catalogue(language)
        return next(texts[f"errors.{kind.__name__}"] for kind in cls.__mro__ if f"errors.{kind.__name__}" in texts)

    def said(self, name: str, language: str) -> Any:
        """One of the values, in `language`."""
        return _said(self.values[name], language)

    def to_dict(self) -> dict[str, Any]:
        """For the database; `from_dict` reads it back."""
        return {"code": self.code, "values": self.values}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> StudioError:
        """The error that `to_dict` described; an unknown code (of a newer version) becomes a plain StudioError."""
        code = str(data["code"])
        kind = error_classes().get(_RENAMED.get(code, code))
        if kind is None:
            return StudioError(detail=f"{code}: {data['values']}")
        return kind(**{_RENAMED_VALUES.get(name, name): value for name, value in data["values"].items()})


# Names under which earlier versions stored errors and their values, and today's.
_RENAMED = {
    "BrokenPictureError": "CorruptImageError",
    "InputPictureError": "InputImageError",
    "InputsError": "InputCombinationError",
    "PictureFileError": "ImportFileError",
}
_RENAMED_VALUES = {"came": "value"}


# Where a value came from, as the code names it; files are named by their path in both languages.
_SOURCES = {
    "form": "表单",
    "command line": "命令行",
    "environment": "环境变量",
    "request": "请求",
    "history": "历史",
    "profile": "配置档",
    "batch": "批量",
    "comparison": "模型对比",
    "storage": "存储",
}


def _plain(value: Any) -> Any:
    """As it can be stored: a number, words, or words by language."""
    if isinstance(value, int | float | bool):
        return value
    return dict(value) if isinstance(value, Mapping) else str(value)


def _said(value: Any, language: str) -> Any:
    if isinstance(value, Mapping):
        return value[language]
    return _SOURCES.get(value, value) if language == "zh" and isinstance(value, str) else value


def error_classes() -> dict[str, type[StudioError]]:
    """Every error by its code."""
    found: dict[str, type[StudioError]] = {}
    waiting: list[type[StudioError]] = [StudioError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting.extend(kind.__subclasses__())
    return found
