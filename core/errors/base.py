"""Define the base class of errors: a code, values, and a message in each language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, dataclass_transform

from core.i18n import catalogue, filled


class Cancelled(Exception):
    """Raised inside a generation when the user cancelled it."""


Text = str | Mapping[str, str] | BaseException | None  # a text, texts by language, or an exception whose text is meant


@dataclass_transform(kw_only_default=True)
class StudioError(Exception):
    """The root of all errors that a user can meet.

    A class declares its values as annotations: they are the keyword arguments of its constructor and attributes of the error.

    The message comes from the catalogue (`core.i18n`, key "errors." and the class name, or that of the nearest base
    class), filled with the values of the constructor. A value that differs between languages is a mapping from language to
    text.
    """

    def __init__(self, **values: Any) -> None:
        self.values = {name: _plain(value) for name, value in values.items()}
        self.__dict__.update(self.values)
        super().__init__(self.message("en"))

    @property
    def code(self) -> str:
        """Return the name under which the error is stored."""
        return type(self).__name__

    def message(self, language: str = "en") -> str:
        """Return the message as one line in `language` ("zh" or "en")."""
        words = {name: self.localized(name, language) for name in self.values}
        return " ".join(filled(self.template(language), words).split())

    @classmethod
    def template(cls, language: str) -> str:
        """Return the message of this class with its placeholders, in `language`."""
        texts = catalogue(language)
        return next(texts[f"errors.{kind.__name__}"] for kind in cls.__mro__ if f"errors.{kind.__name__}" in texts)

    def localized(self, name: str, language: str) -> Any:
        """Return one of the values, in `language`."""
        value = self.values[name]
        if isinstance(value, Mapping):
            return value[language]
        return _TERMS.get(name, {}).get(value, value) if language == "zh" else value

    def to_dict(self) -> dict[str, Any]:
        """Return the error for the database; `from_dict` reads it back."""
        return {"code": self.code, "values": self.values}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> StudioError:
        """Return the error that `to_dict` described; an unknown code (of a newer version) becomes a plain StudioError."""
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
_RENAMED_VALUES = {"came": "value", "wish": "action"}


# Values that are terms of the program, by the name of the value, as Chinese messages write them.
_TERMS = {
    "source": {
        "form": "表单",
        "command line": "命令行",
        "environment": "环境变量",
        "request": "请求",
        "history": "历史",
        "profile": "配置档",
        "batch": "批量",
        "benchmark": "模型评测",
        "comparison": "模型评测",  # as version 0.1 stored it
        "settings": "设置",
        "storage": "存储",
        "sweep": "X/Y 图表",
    },
    "kind": {
        "benchmark": "模型评测",
        "contact sheet": "网格图",
        "export": "导出",
        "image": "图片",
        "image file": "图片文件",
        "input image": "输入图片",
        "job": "任务",
        "preview of a LoRA": "LoRA 预览图",
        "preview of a job": "任务预览",
        "X/Y plot": "X/Y 图表",
    },
    "state": {
        "queued": "排队中",
        "loading": "加载中",
        "running": "运行中",
        "done": "已完成",
        "failed": "失败",
        "cancelled": "已取消",
    },
    "action": {
        "pause": "暂挂",
        "retry": "重试",
        "move": "移动",
        "priority": "更改优先级",
        "run later": "定时",
    },
}


def _plain(value: Any) -> Any:
    """Return `value` as it can be stored: a number, a text, or texts by language."""
    if isinstance(value, int | float | bool):
        return value
    return dict(value) if isinstance(value, Mapping) else str(value)


def error_classes() -> dict[str, type[StudioError]]:
    """Return every imported error class by its code."""
    found: dict[str, type[StudioError]] = {}
    waiting: list[type[StudioError]] = [StudioError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting.extend(kind.__subclasses__())
    return found
