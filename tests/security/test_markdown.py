"""What users and files name is shown as it is where Streamlit reads Markdown: an image address in a name loads nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config.loader import PROJECT_ROOT
from ui.formats import literal

PAGES = sorted((PROJECT_ROOT / "ui").rglob("*.py"))
READ_MARKDOWN = {  # of Streamlit's calls, those whose first argument is Markdown
    "badge", "button", "caption", "checkbox", "download_button", "error", "expander", "header", "info", "link_button",
    "markdown", "popover", "subheader", "success", "title", "toast", "toggle", "warning", "write",
}  # fmt: skip
NAMED = {"name", "names", "words", "parts", "value", "reason", "prompt", "repository"}  # values of texts that users or files give


@pytest.mark.parametrize(
    "text",
    ["![x](http://evil/a.png)", "[x](javascript:alert(1))", "<img src=x>", "# head", "- item", "1. item", "`code`",
     "**b** _i_ ~~s~~", "$x^2$", ":red[x] :material/home:", "a | b", "> quote", "\\![x](y)", "&amp;"],
)  # fmt: skip
def test_no_sign_of_markdown_is_left_without_a_backslash(text: str) -> None:
    shown = literal(text)
    assert re.sub(r"\\(.)", r"\1", shown) == text
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_{}\[\]()<>#!|~$:&]", shown)


def test_lines_become_one() -> None:
    assert literal("a\n\n# b\r\n- c") == r"a \# b \- c"


def loose(tree: ast.AST) -> Iterator[int]:
    """Lines on which a call that reads Markdown gets an error's message or a named value without `literal`."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or not call.args:
            continue
        if call.func.attr in READ_MARKDOWN and isinstance(call.func.value, ast.Name) and call.func.value.id == "st":
            yield from _loose_in(call.args[0])


def _loose_in(node: ast.AST) -> Iterator[int]:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "literal":
            return
        if name == "message":
            yield node.lineno
        for keyword in node.keywords:
            if keyword.arg in NAMED and not _is_literal(keyword.value):
                yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _loose_in(child)


def _is_literal(value: ast.AST) -> bool:
    """Return True for `literal(...)` and for numbers that are written out."""
    if isinstance(value, ast.Call):
        return (value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")) == "literal"
    return isinstance(value, ast.JoinedStr | ast.Constant)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(PROJECT_ROOT / "ui")))
def test_pages_show_names_and_messages_as_they_are(path: Path) -> None:
    assert list(loose(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_the_rule_finds_what_it_is_for() -> None:
    bad = 'st.warning(error.message("en"))\nst.button(t("x", name=current))\nst.caption(t("y", name=literal(name)))'
    assert list(loose(ast.parse(bad))) == [1, 2]
