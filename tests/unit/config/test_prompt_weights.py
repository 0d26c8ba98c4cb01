"""Emphasis in prompts as A1111 and ComfyUI read it, each by what their own readers give."""

from __future__ import annotations

import time

import pytest

from core.config.prompt_weights import A1111, COMFYUI, OFF, Span, editing, has_syntax, parse


def read(prompt: str, syntax: str) -> list[tuple[str, float, bool] | tuple[str, float]]:
    found = [(one.text, round(one.weight, 3), one.breaks) for one in parse(prompt, syntax)]
    return [one if one[2] else one[:2] for one in found]


@pytest.mark.parametrize(
    ("prompt", "a1111", "comfyui"),
    [
        ("a house", [("a house", 1)], [("a house", 1)]),
        ("", [("", 1)], [("", 1)]),
        ("a (b:1.2) c", [("a ", 1), ("b", 1.2), (" c", 1)], [("a ", 1), ("b", 1.2), (" c", 1)]),
        ("a (b) [c] ((d))", [("a ", 1), ("b", 1.1), (" ", 1), ("c", 0.909), (" ", 1), ("d", 1.21)],
         [("a ", 1), ("b", 1.1), (" [c] ", 1), ("d", 1.21)]),
        ("((a:1.2) b:1.5)", [("a", 1.8), (" b", 1.5)], [("a", 1.2), (" b", 1.5)]),
        (r"\(a\) (b\):1.3)", [("(a) ", 1), ("b)", 1.3)], [("(a) ", 1), ("b)", 1.3)]),
        (r"\[a\] \\", [("[a] \\", 1)], [(r"\[a\] \\", 1)]),
        ("(open a", [("open a", 1.1)], [("(open a", 1)]),
        ("a) b:1.2) c", [("a) b:1.2) c", 1)], [("a) b:1.2) c", 1)]),
        ("(a (b:1.2)", [("a ", 1.1), ("b", 1.32)], [("(a (b:1.2)", 1)]),
        ("a BREAK b", [("a", 1), ("b", 1, True)], [("a BREAK b", 1)]),
        ("BREAKFAST", [("BREAKFAST", 1)], [("BREAKFAST", 1)]),
        ("(a BREAK b:1.2)", [("a", 1.2), ("b", 1.2, True)], [("a BREAK b", 1.2)]),
        ("(a:-.5)", [("a", -0.5)], [("a", -0.5)]),
        ("(a:high)", [("a:high", 1.1)], [("a:high", 1.1)]),
    ],
)  # fmt: skip
def test_as_each_program_reads_it(prompt, a1111, comfyui):
    assert read(prompt, A1111) == a1111 and read(prompt, COMFYUI) == comfyui
    assert parse(prompt, OFF) == (Span(prompt),)


@pytest.mark.parametrize("prompt", ["a house, by the sea: 3", "a {b|c}", "", "a) b", "100:1.2) c"])
def test_text_alone_is_no_syntax(prompt):
    assert not has_syntax(prompt)
    assert has_syntax(f"{prompt} (x)") and has_syntax(f"{prompt} BREAK x")


@pytest.mark.parametrize("prompt", ["(" * 5000 + "a" + ")" * 5000, "(a" * 5000, "[b(a" * 2500, "(a:1.1)" * 1400, "(" * 10000])
@pytest.mark.parametrize("syntax", [A1111, COMFYUI])
def test_brackets_without_end_take_no_time(prompt, syntax):
    began = time.process_time()
    found = parse(prompt, syntax)
    assert "".join(one.text for one in found).count("a") == prompt.count("a")
    assert time.process_time() - began < 5  # some hundredths; a weight for each bracket around each part took minutes


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("a [cat:dog:0.5] in rain", "[cat:dog:0.5]"), ("[a house:8]", "[a house:8]"), ("x [cat::.3]", "[cat::.3]"),
        ("a [red|blue] house", "[red|blue]"), ("a [red] house", None), ("[note: red]", None), ("\\[a|b]", None),
        ("a (b:1.2)", None),
    ],
)  # fmt: skip
def test_prompt_editing_is_found(prompt, part):
    assert editing(prompt) == part
    assert editing(prompt, COMFYUI) is None, "ComfyUI has none"
