"""Read the emphasis in prompts for CLIP: (word:1.2), ((word)), [word], BREAK and escaped brackets, as A1111 or ComfyUI do.

    a1111    (word) x 1.1, [word] / 1.1, (word:1.3) x 1.3; nested weights are multiplied; BREAK begins a new chunk
    comfyui  (word) x 1.1, (word:1.3) is 1.3 wherever it stands; square brackets and BREAK are text
    off      everything is text

An opened bracket that is never closed acts to the end in A1111 and is text in ComfyUI. How weights act on the prompt embeds
differs, too: see `core.inference.clip_encoding`. Models without CLIP read none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

SYNTAX = "generation.prompt_syntax"
CLIP_SKIP = "generation.clip_skip"
A1111, COMFYUI, OFF = "a1111", "comfyui", "off"
SYNTAXES = (A1111, COMFYUI, OFF)

STEP = 1.1  # of a bracket without a number
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_SIGNS = re.compile(rf"\\[\\()\[\]]|[()\[\]]|:\s*({_NUMBER})\s*\)|\s*\bBREAK\b\s*")
_GIVEN = re.compile(rf"(.+):\s*({_NUMBER})\s*", re.DOTALL)
_EDITING = re.compile(r"(?<!\\)\[[^\[\]]*:\s*\d*\.?\d+\s*\]|(?<!\\)\[[^\[\]]*\|[^\[\]]*\]")  # [a:b:0.5], [a|b]
_DEEPEST = 50  # brackets within brackets; deeper ones are text


@dataclass(frozen=True)
class Span:
    """A part of a prompt with one weight, 1 being neutral. `breaks`: a new chunk begins before it."""

    text: str
    weight: float = 1.0
    breaks: bool = False


@lru_cache(maxsize=64)
def parse(prompt: str, syntax: str) -> tuple[Span, ...]:
    """Return the parts of a prompt in order, at least one. Neighbours of one weight are joined."""
    if syntax == OFF:
        return (Span(prompt),)
    found = _a1111(prompt) if syntax == A1111 else list(_comfyui(prompt, 1.0, 0))
    return tuple(_joined(found)) or (Span(""),)


def has_syntax(prompt: str, syntax: str = A1111) -> bool:
    """Return True if anything in the prompt is more than text."""
    return parse(prompt, syntax) != (Span(prompt),)


def editing(prompt: str, syntax: str = A1111) -> str | None:
    """Return the first part that A1111 would change between steps, `[a:b:0.5]` or `[a|b]`, which no sampler here does."""
    found = _EDITING.search(prompt) if syntax == A1111 else None
    return found[0] if found else None


def _joined(spans: list[Span]) -> Iterator[Span]:
    chunk = 0
    numbered = [(chunk := chunk + one.breaks, one) for one in spans if one.text or one.breaks]
    for _, group in groupby(numbered, key=lambda pair: (pair[0], pair[1].weight)):
        same = [one for _, one in group]
        yield replace(same[0], text="".join(one.text for one in same))


# -- A1111 -------------------------------------------------------------------------------------------------------------


def _a1111(prompt: str) -> list[Span]:
    texts: list[str] = []
    weights: list[float] = []
    breaks: set[int] = set()  # places in `texts` of chunks that BREAK begins
    opened: dict[str, list[int]] = {"(": [], "[": []}  # where the parts of each open bracket begin
    end = 0

    def add(text: str) -> None:
        if text:  # an empty part would only be weighted, once for each bracket around it
            texts.append(text)
            weights.append(1.0)

    def close(bracket: str, factor: float) -> None:
        for place in range(opened[bracket].pop(), len(weights)):
            weights[place] *= factor

    for found in _SIGNS.finditer(prompt):
        add(prompt[end : found.start()])
        end, sign = found.end(), found[0]
        if sign in opened and len(opened["("]) + len(opened["["]) < _DEEPEST:
            opened[sign].append(len(texts))
        elif found[1] is not None and opened["("]:
            close("(", float(found[1]))
        elif sign == ")" and opened["("]:
            close("(", STEP)
        elif sign == "]" and opened["["]:
            close("[", 1 / STEP)
        elif sign.strip() == "BREAK":
            breaks.add(len(texts))
            texts.append("")
            weights.append(1.0)
        else:
            add(sign[1:] if sign.startswith("\\") else sign)
    add(prompt[end:])
    for bracket, factor in (("(", STEP), ("[", 1 / STEP)):
        while opened[bracket]:
            close(bracket, factor)
    return [Span(text, weight, place in breaks) for place, (text, weight) in enumerate(zip(texts, weights, strict=True))]


# -- ComfyUI -----------------------------------------------------------------------------------------------------------


def _comfyui(text: str, weight: float, depth: int) -> Iterator[Span]:
    for part in _groups(text):
        if not (part.startswith("(") and part.endswith(")") and len(part) > 1) or depth == _DEEPEST:
            yield Span(re.sub(r"\\([()])", r"\1", part), weight)
            continue
        given = _GIVEN.fullmatch(part[1:-1])
        inner, own = (given[1], float(given[2])) if given else (part[1:-1], weight * STEP)
        yield from _comfyui(inner, own, depth + 1)


def _groups(text: str) -> Iterator[str]:
    """Yield the text divided at its outermost brackets, each with what it holds; an open one goes to the end."""
    start = level = 0
    for found in re.finditer(r"\\[()]|[()]", text):
        if found[0] == "(":
            if level == 0 and found.start() > start:
                yield text[start : found.start()]
            start, level = (found.start() if level == 0 else start), level + 1
        elif found[0] == ")" and level:
            level -= 1
            if level == 0:
                yield text[start : found.end()]
                start = found.end()
    if start < len(text):
        # an open group is text as it stands: its end is no bracket of its own
        yield from ((text[start:],) if level == 0 else (text[start : start + 1], *_as_text(text[start + 1 :])))


def _as_text(rest: str) -> Iterator[str]:
    """Yield the characters of an open group so that no part of it begins with its bracket and ends with one."""
    yield from (one for one in re.split(r"(\\?[()])", rest) if one)
