"""Both catalogues have the same keys, the code uses exactly these, and every placeholder gets its value."""

import ast
import functools
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.i18n import LANGUAGES, catalogue, fill, localize

CORE = Path(__file__).parents[3] / "core"


@functools.cache
def nodes() -> list[ast.AST]:
    """Return every syntax node of core that a test looks for."""
    found = (node for path in sorted(CORE.rglob("*.py")) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return [node for node in found if isinstance(node, ast.Call | ast.JoinedStr | ast.ClassDef)]


def calls() -> Iterator[tuple[str, set[str] | None]]:
    """Yield key and names of values of every `localize(...)` call; None for values given as a mapping."""
    for node in nodes():
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "localize" and node.args:
            names = None if any(word.arg is None for word in node.keywords) else {str(w.arg) for w in node.keywords}
            key = node.args[0]
            if isinstance(key, ast.Constant):
                yield key.value, names
            elif isinstance(key, ast.JoinedStr):  # a family of keys: all that begin so
                prefix = key.values[0].value
                yield from ((known, names) for known in catalogue("en") if known.startswith(prefix))


def families() -> Iterator[str]:
    """Yield the keys that an f-string outside of a call names by their beginning, such as f"models.lora_match.what.{kind}"."""
    for node in nodes():
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            prefix = str(node.values[0].value)
            if prefix.count(".") >= 2 and prefix.endswith("."):
                yield from (known for known in catalogue("en") if known.startswith(prefix))


def placeholders(text: str) -> set[str]:
    """Return the names in braces of a text."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def is_class_key(key: str) -> bool:
    """Return True for the sentence of an error class, such as "errors.PromptError"."""
    return key.startswith("errors.") and key[len("errors.")].isupper()


def test_languages_have_the_same_keys():
    assert catalogue("en").keys() == catalogue("zh").keys()


def test_every_used_key_is_there_and_every_key_is_used():
    known = {key for key in catalogue("en") if not is_class_key(key)}
    used = {key for key, _ in calls()} | set(families())
    assert used - known == set()
    assert known - used == set()


def test_every_error_text_has_its_class():
    texts = {key.removeprefix("errors.") for key in catalogue("en") if is_class_key(key)}
    classes = {node.name for node in nodes() if isinstance(node, ast.ClassDef)}
    assert texts - classes == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_placeholder_gets_a_value(language):
    for key, names in calls():
        if names:  # without values a text is returned as it stands
            assert placeholders(catalogue(language)[key]) <= names, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_error_texts_can_be_filled_in(language):
    for key, text in catalogue(language).items():
        if is_class_key(key):
            assert placeholders(text) == placeholders(catalogue("en")[key]), key


def test_mapping_values_are_filled_in_by_language():
    assert fill("{a} {b}", "zh", {"a": {"en": "one", "zh": "一"}, "b": 2}) == "一 2"


def test_unknown_key_is_an_error():
    with pytest.raises(KeyError):
        localize("no.such.key")


def test_a_word_has_the_form_of_its_number():
    text = "{count} {count:image was|images were} saved, {{a|b}}: {size:.1f} of {most} {most:job|jobs}"
    assert fill(text, "en", {"count": 1, "size": 2.0, "most": "1"}) == "1 image was saved, {a|b}: 2.0 of 1 job"
    assert fill(text, "en", {"count": 0, "size": 2.0, "most": "12"}) == "0 images were saved, {a|b}: 2.0 of 12 jobs"


def test_no_english_text_counts_what_may_be_one_in_the_plural():
    """Nouns that stand right behind a number have both forms; limits that are never one, and units, may stand."""
    never_one = {"limit", "deepest", "largest", "max_name", "max_labels", "max_note", "most_draws", "least", "tokens", "used"}
    plural = re.compile(r"\{(\w+)(?::,)?\} (?:images|files|jobs|steps|models|prompts|workers|packages|rows|cells|entries|layers)\b")
    wrong = {key: found for key, text in catalogue("en").items() for found in plural.findall(text) if found not in never_one}
    assert wrong == {}
