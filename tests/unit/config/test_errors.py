"""Every error can be said in both languages, stored and read back."""

from __future__ import annotations

import ast
import json
import string
from collections import Counter
from pathlib import Path

import pytest

import core
from core.errors import LANGUAGES, NotFoundError, StudioError, error_classes

ERRORS = sorted(error_classes().values(), key=lambda kind: kind.__name__)
each_error = pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)


def fields(kind: type[StudioError], language: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(kind.template(language)) if name}


def example(kind: type[StudioError]) -> StudioError:
    """With a value for each field, awkward on purpose."""
    names = fields(kind, "en") | fields(kind, "zh")
    return kind(**{name: f"{{{name}}}\n% 红 {number}" for number, name in enumerate(sorted(names))})


@each_error
def test_it_has_a_template_in_each_language(kind: type[StudioError]) -> None:
    assert fields(kind, "en") == fields(kind, "zh")


@each_error
def test_it_is_one_line_with_every_value_in_it(kind: type[StudioError]) -> None:
    error = example(kind)
    for language in LANGUAGES:
        line = error.message(language)
        assert "\n" not in line
        for name in fields(kind, language):
            assert f"{{{name}}} % 红" in line


@each_error
def test_it_comes_back_from_the_database_as_it_was(kind: type[StudioError]) -> None:
    error = example(kind)
    again = StudioError.from_dict(json.loads(json.dumps(error.to_dict())))
    assert type(again) is kind
    assert [again.message(language) for language in LANGUAGES] == [error.message(language) for language in LANGUAGES]


def test_an_error_of_a_newer_version_is_still_shown() -> None:
    error = StudioError.from_dict({"code": "FutureError", "values": {"value": 3}})
    assert type(error) is StudioError
    assert "FutureError" in error.message("zh")


def test_values_are_kept_as_numbers_where_they_are_numbers() -> None:
    assert StudioError(detail="x", step=3, share=0.5, folder=None).values == {
        "detail": "x",
        "step": 3,
        "share": 0.5,
        "folder": "None",
    }


def test_terms_of_the_program_are_translated() -> None:
    assert "图片" in NotFoundError(kind="image", value="x").message("zh")
    assert "image" in NotFoundError(kind="image", value="x").message("en")
    stored = {"code": "JobStateError", "values": {"job": "j", "state": "done", "wish": "move", "allowed": "queued"}}
    assert "移动" in StudioError.from_dict(stored).message("zh"), "a value that version 0.1 stored under another name"


def test_class_names_are_unique() -> None:
    """An error is stored by the name of its class, so one name must not be two classes, those of libraries included."""
    names = Counter(
        node.name
        for path in (Path(core.__file__).parent).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
    )
    assert len(names) > 60
    assert [name for name, count in names.items() if count > 1] == []
