"""Both catalogues have the same keys, and the code uses exactly these."""

import ast
import string
from pathlib import Path

import pytest

from core.errors.base import error_classes
from core.i18n import LANGUAGES, catalogue, localize

CORE = Path(__file__).parents[3] / "core"


def used_keys() -> set[str]:
    """Return the first argument of every `localize(...)` call in core."""
    found = set()
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "localize" and node.args:
                key = node.args[0]
                if isinstance(key, ast.Constant):
                    found.add(key.value)
                elif isinstance(key, ast.JoinedStr):  # a family of keys: all that begin so
                    prefix = key.values[0].value
                    found |= {known for known in catalogue("en") if known.startswith(prefix)}
    return found


def is_class_key(key: str) -> bool:
    """Return True for the sentence of an error class, such as "errors.PromptError"."""
    return key.startswith("errors.") and key[len("errors.")].isupper()


def test_languages_have_the_same_keys():
    assert catalogue("en").keys() == catalogue("zh").keys()


def test_every_used_key_is_there_and_every_key_is_used():
    known = {key for key in catalogue("en") if not is_class_key(key)}
    assert used_keys() - known == set()
    assert known - used_keys() == set()


def test_every_error_has_a_text():
    texts = {key.removeprefix("errors.") for key in catalogue("en") if is_class_key(key)}
    assert texts - set(error_classes()) == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_are_well_formed(language):
    for text in catalogue(language).values():
        assert text and list(string.Formatter().parse(text))


def test_mapping_values_are_filled_in_by_language():
    part = {"en": "one", "zh": "一"}
    from core.i18n import fill

    assert fill("{a} {b}", "zh", {"a": part, "b": 2}) == "一 2"


def test_unknown_key_is_an_error():
    with pytest.raises(KeyError):
        localize("no.such.key")
