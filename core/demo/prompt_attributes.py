"""Find what a prompt asks of the embedded model's scenes: the inverse of `captions`.

The words are those of the captions. What they leave open, or say in two ways, is not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from core.demo.captions import COLORS, ENGLISH_TAGS, KINDS, POSITIONS, SURROUNDINGS, TRADITIONAL
from core.demo.scenes import ATTRIBUTES

SIMPLIFIED = {ord(chr(new)): old for old, new in TRADITIONAL.items()}
BETWEEN = re.compile(r"[ \n]*的?[ \n]*")  # what may stand between a colour and its thing


@dataclass(frozen=True)
class Word:
    """Words of the world in a prompt: what they say, and where they begin and end."""

    attribute: str
    value: str
    begin: int
    end: int


def attributes(prompt: str) -> dict[str, str]:
    """Return each attribute of `scenes.ATTRIBUTES` that the prompt names, with its value; empty for another world."""
    text = prompt.translate(SIMPLIFIED).lower()
    words = sorted(_words(text), key=lambda word: word.begin)
    named: dict[str, set[str]] = {}
    for word in words:
        named.setdefault(word.attribute, set()).add(word.value)
    asked = {name: values.pop() for name, values in named.items() if name in _SURROUNDING and len(values) == 1}
    asked |= _things(text, words)
    return {name: asked[name] for name in ATTRIBUTES if name in asked}


def _things(text: str, words: list[Word]) -> dict[str, str]:
    """Return the one or two things, their colours, and where the first one stands; of more than two nothing is asked."""
    kinds = [word for word in words if word.attribute == "kind"]
    places = [word.value for word in words if word.attribute == "position"]
    asked: dict[str, str] = {}
    if len(kinds) > 2:
        return asked
    for number, kind in zip(("", "2"), kinds, strict=False):
        asked[f"kind{number}"] = kind.value
        colors = [word for word in words if word.attribute == "color" and _belongs(text, word, kind)]
        if colors:
            asked[f"color{number}"] = colors[0].value
    if kinds and len(places) == len(kinds):  # each thing has its own
        asked["position"] = places[0]
    return asked


def _belongs(text: str, color: Word, kind: Word) -> bool:
    """Return whether the colour stands right before the thing."""
    return color.end <= kind.begin and BETWEEN.fullmatch(text, color.end, kind.begin) is not None


_SURROUNDING = frozenset(("time", "ground", "mountains", "celestial", "weather"))


def _words(text: str) -> Iterator[Word]:
    for pattern, meanings in _patterns():
        for found in pattern.finditer(text):
            yield Word(*meanings[found[0]], found.start(), found.end())


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], dict[str, tuple[str, str]]], ...]:
    """For each language what finds its words, the longest first, and what each of them says."""
    made = []
    for language, frame in (("zh", "{}"), ("en", r"(?<![a-z])(?:{})(?![a-z])")):
        meanings = {
            word: (attribute, value)
            for attribute, values in _vocabulary(language)
            for value, words in values.items()
            for word in words
        }
        longest_first = sorted(meanings, key=len, reverse=True)
        made.append((re.compile(frame.format("|".join(map(re.escape, longest_first)))), meanings))
    return tuple(made)


def _vocabulary(language: str) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    yield from (("kind", KINDS[language]), ("color", COLORS[language]), ("position", POSITIONS[language]))
    yield from SURROUNDINGS[language].items()
    if language == "en":
        yield from ENGLISH_TAGS.items()
