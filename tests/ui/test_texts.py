"""The texts: the same keys in both languages, none missing, none unused, and none written into the code."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config.loader import PROJECT_ROOT
from core.config.options import GROUPS, SCHEMA
from core.errors import LANGUAGES, error_classes
from ui import i18n, prompts

SOURCES = sorted((PROJECT_ROOT / "ui").rglob("*.py"))
# Streamlit's functions whose first words, or these named ones, a viewer reads.
SAYING = {
    "link_button", "multiselect", "select_slider",
    "button", "caption", "checkbox", "code", "date_input", "download_button", "error", "expander", "header", "info", "markdown",
    "metric", "number_input", "pills", "popover", "progress", "radio", "segmented_control", "selectbox", "slider", "subheader",
    "success", "text", "text_area", "text_input", "title", "toast", "toggle", "warning", "write", "Page",
}  # fmt: skip
NAMED = {"label", "help", "placeholder", "text", "title", "page_title"}
MAY_STAND = {
    *(f"views/{path.name}" for path in SOURCES if path.parent.name == "views"),
    "–",
    "4, 8, 12",
    "generation:\n  cfg_scale: 3.0",
    "generation.width = 512",
    "generation.num_inference_steps = 4",
}


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def used() -> tuple[set[str], set[str]]:
    """(keys, beginnings of keys that are put together) of every t(...) and known(...)."""
    keys, beginnings = set(), set()
    for path in SOURCES:
        names = ("t", "known") if "from ui.i18n import known" in path.read_text(encoding="utf-8") else ("t",)
        for call in calls(path):
            if not isinstance(call.func, ast.Name) or call.func.id not in names or not call.args:
                continue
            for node in ast.walk(call.args[0]):
                if isinstance(node, ast.JoinedStr):
                    beginnings.add(node.values[0].value)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node is call.args[0]:
                    keys.add(node.value)
    return keys, beginnings


def test_both_languages_have_the_same_keys_and_the_same_blanks():
    chinese, english = (i18n.texts(language) for language in ("zh", "en"))
    assert set(chinese) == set(english)
    for key, words in english.items():
        blanks = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (words, chinese[key])]
        assert blanks[0] == blanks[1], key


def test_a_number_of_images_has_the_right_form_of_the_word():
    """No English text says "1 images": a noun behind a number that may be one has both forms."""
    plural = re.compile(r"\{(\w+)\} (?:images|files|jobs|steps|pairs|workers|GPUs|cores|parameters|models|prompts)\b")
    may_stand = {"compare.too_few"}  # 2 to {most}
    assert {key for key, words in i18n.texts("en").items() if plural.search(words)} - may_stand == set()
    assert i18n.filled(i18n.texts("en")["history.found"], {"total": 1}) == "1 image"


def test_no_text_is_missing_and_none_is_unused():
    keys, beginnings = used()
    known = set(i18n.texts("en"))
    assert keys <= known
    assert all(any(key.startswith(beginning) for key in known) for beginning in beginnings)
    assert {key for key in known - keys if not key.startswith(tuple(beginnings))} == set()


def test_no_words_are_written_into_the_code():
    found = []
    for path in SOURCES:
        for call in calls(path):
            if name_of(call) not in SAYING:
                continue
            said = call.args[:1] + [word.value for word in call.keywords if word.arg in NAMED]
            found += [
                f"{path.name}:{call.lineno}: {node.value}"
                for argument in said
                for node in literals(argument)
                if re.search(r"[^\W\d_]", node.value) and node.value not in MAY_STAND
            ]
    assert found == []


def literals(argument: ast.expr) -> list[ast.Constant]:
    """Words as they stand, and the fixed parts of an f-string; not the keys inside t(...)."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return [argument]
    if isinstance(argument, ast.JoinedStr):
        return [part for part in argument.values if isinstance(part, ast.Constant)]
    return []


def test_every_error_has_a_title():
    roots = {"StudioError", "InputError", "ModelError", "RunError"}  # never raised themselves
    pages = {code for code, kind in error_classes().items() if kind.__module__ == "core.errors"}  # not the terminal's own
    assert len(pages) > 40
    assert [code for code in sorted(pages - roots) if f"error.{code}" not in i18n.texts("en")] == []


def test_options_and_groups_are_said_in_both_languages():
    for option in SCHEMA.options.values():
        for words in (option.label, option.help):
            assert set(words) == set(LANGUAGES), option.key
    assert all(set(name) == set(LANGUAGES) for name in GROUPS.values())
    assert {option.group for option in SCHEMA.panel("advanced")} <= set(GROUPS)


@pytest.mark.parametrize(
    "library", prompts.load_libraries(PROJECT_ROOT / "configs" / "prompts"), ids=lambda one: one.models[0]
)
def test_every_sentence_of_the_library_can_be_made(library):
    assert len(library.samples) == 6
    for language in LANGUAGES:
        for kind in library.kinds:
            full = prompts.compose(library, kind, {slot.id: 0 for slot in kind.slots}, language)
            assert "{" not in full and "  " not in full
            assert all(slot.words[0][language] in full for slot in kind.slots)
            assert prompts.compose(library, kind, {}, language) == ""
        assert all(sample.text[language] for sample in library.samples)


def test_words_are_replaced_where_they_stand():
    assert prompts.replace_words("fog, red house", "red house", "blue car", ", ") == "fog, blue car"
    assert prompts.replace_words("fog", "red house", "blue car", ", ") == "fog, blue car"
    assert prompts.replace_words("", "", "blue car", ", ") == "blue car"
    assert prompts.replace_words("red house", "red house", "", ", ") == ""
