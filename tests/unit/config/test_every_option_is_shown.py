"""No option without a test that shows what it does, and a table of all of them that is up to date.

A test says which options it shows: `@pytest.mark.option("vae.enable_tiling")`.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.cli import options_reference
from core.config.loader import PROJECT_ROOT, load_settings
from core.config.options import SCHEMA

TESTS = PROJECT_ROOT / "tests"


@functools.cache
def shown() -> dict[str, list[str]]:
    """The tests that name each key, found in the sources, so that it costs no collecting."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for key in keys_of(node):
                    found.setdefault(key, []).append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def keys_of(test: ast.FunctionDef) -> list[str]:
    """The arguments of its `pytest.mark.option(...)`."""
    marks = [mark for mark in test.decorator_list if isinstance(mark, ast.Call)]
    named = [mark for mark in marks if ast.unparse(mark.func) == "pytest.mark.option"]
    return [ast.literal_eval(argument) for mark in named for argument in mark.args]


def test_every_option_has_a_test_that_shows_it() -> None:
    missing = sorted(set(SCHEMA.options) - set(shown()))
    assert missing == [], 'mark the test of its effect: @pytest.mark.option("...")'


def test_only_options_are_shown() -> None:
    assert sorted(set(shown()) - set(SCHEMA.options)) == []


def test_what_was_measured_is_of_options() -> None:
    measured = json.loads(options_reference.MEASURED.read_text(encoding="utf-8"))
    assert sorted(set(measured) - set(SCHEMA.options)) == []


def test_the_table_of_options_is_up_to_date() -> None:
    written = Path(options_reference.FILE).read_text(encoding="utf-8")
    assert written == options_reference.document(), "run: python3 start.py options --write"


def test_typed_settings_are_up_to_date() -> None:
    written = options_reference.TYPED_SETTINGS.read_text(encoding="utf-8")
    assert written == options_reference.typed_settings_document(), "run: python3 start.py options --write"


def test_every_option_is_an_attribute_of_the_settings() -> None:
    settings = load_settings()
    for key in SCHEMA.options:
        value: Any = settings
        for name in key.split("."):
            value = getattr(value, name)
        assert value == settings.values[key], key
    for wrong in ("server.prot", "nothing", "nothing.at_all"):
        with pytest.raises(AttributeError):
            functools.reduce(getattr, wrong.split("."), settings)


@pytest.mark.slow  # half a minute of mypy
def test_mypy_knows_names_and_types_of_the_settings(tmp_path: Path) -> None:
    lines = ["right: int = settings.server.port", "settings.server.prot", "wrong: int = settings.server.host", "settings.sever"]
    code = "from core.config.loader import load_settings\nsettings = load_settings()\n" + "\n".join(lines)
    (tmp_path / "use.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "use.py")]
    run = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    found = re.findall(r"use\.py:(\d+): error: .*\[([\w-]+)\]", run.stdout)
    assert found == [("4", "attr-defined"), ("5", "assignment"), ("6", "attr-defined")], run.stdout


def test_every_advanced_option_has_an_accordion() -> None:
    """On the Generate page; the embedded model's options had been left out of all of them once."""
    from ui.components.accordions import SECTIONS

    shown_groups = {group for section in SECTIONS for group in section.groups}
    left = [option.key for option in SCHEMA.panel("advanced") if option.group not in shown_groups | {"lora"}]
    assert left == []
