"""What all errors have in common: a code, values, and a sentence in each language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

LANGUAGES = ("zh", "en")


class Cancelled(Exception):
    """Raised inside a generation when the user cancelled it."""


class StudioError(Exception):
    """The root. `text` holds one template a language, filled with the values given to the constructor.

    A value that reads differently in the two languages is given as a mapping from language to words.
    """

    text: ClassVar[Mapping[str, str]] = {"en": "{detail}", "zh": "{detail}"}

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
        return " ".join(self.text[language].format(**words).split())

    def said(self, name: str, language: str) -> Any:
        """One of the values, in `language`."""
        return _said(self.values[name], language)

    def to_dict(self) -> dict[str, Any]:
        """For the database; `from_dict` reads it back."""
        return {"code": self.code, "values": self.values}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> StudioError:
        """The error that `to_dict` described; an unknown code (of a newer version) becomes a plain StudioError."""
        kind = error_classes().get(str(data["code"]))
        if kind is None:
            return StudioError(detail=f"{data['code']}: {data['values']}")
        return kind(**data["values"])


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
