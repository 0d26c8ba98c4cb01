"""Prompts with choices in them, and the prompt that a seed makes of one.

    {red|blue|} house     one of them, the last being nothing; choices may hold choices
    a __color__ house     a line of the file color.txt, which may hold wildcards again
    \\{ \\} \\| \\_ \\\\         these characters themselves

The same template, seed and files make the same prompt on any machine: choices are drawn from SHA-256 of the seed and of
their number, not from a library's generator that may change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.errors import WildcardError
from core.i18n import localize

NAME = re.compile(r"[a-z0-9-]+(?:_[a-z0-9-]+)*")
DEEPEST = 20  # choices inside choices, files that name files
MOST_DRAWS = 1000  # in one prompt: files that name each other twice would double at each step

_MEANT = re.compile(r"__([^\s_{}|\\](?:[^\s{}|\\]*?[^\s_{}|\\])?)__")  # whoever writes this means a file
_ESCAPED = "{}|_\\"
_ALLOWED_NAME = localize("batch.wildcards.allowed_name")
_ALLOWED_BRACES = localize("batch.wildcards.allowed_braces")
_ALLOWED_DEPTH = localize("batch.wildcards.allowed_depth", deepest=DEEPEST)
_ALLOWED_CHAIN = localize("batch.wildcards.allowed_chain", deepest=DEEPEST)

Lines = Callable[[str], Sequence[str]]  # name of a file -> its lines; WildcardError when there is none


@dataclass(frozen=True)
class Choice:
    """Alternatives, one of which is selected."""

    options: tuple[Parts, ...]


@dataclass(frozen=True)
class File:
    """A wildcard file, one line of which is selected."""

    name: str


Parts = tuple[str | Choice | File, ...]


def has_wildcards(template: str) -> bool:
    """Return True if different seeds may give different prompts. Raises WildcardError."""
    return any(not isinstance(part, str) for part in parse(template))


def expand(template: str, seed: int, lines: Lines) -> str:
    """Return the prompt that `template` gives with `seed`. Raises WildcardError with value and allowed values."""
    return _Expansion(seed, lines).text(parse(template), ())


@lru_cache(maxsize=256)  # a template of a batch is expanded once an image
def parse(template: str) -> Parts:
    """Return the parts of a template. Raises WildcardError for unbalanced braces and invalid names."""
    parts, end = _parts(template, 0, 0)
    if end < len(template):  # at a } that closes nothing
        raise WildcardError(value=_near(template, end), allowed=_ALLOWED_BRACES)
    return parts


def _parts(template: str, at: int, depth: int) -> tuple[Parts, int]:
    """The parts from `at` on, and where they end: at the } or, inside of braces, the | that is not theirs."""
    found: list[str | Choice | File] = []
    words: list[str] = []

    def add(part: Choice | File) -> None:
        if words:
            found.append("".join(words))
            words.clear()
        found.append(part)

    while at < len(template):
        sign = template[at]
        if sign == "\\" and template[at + 1 : at + 2] and template[at + 1] in _ESCAPED:
            words.append(template[at + 1])
            at += 2
        elif sign == "}" or (sign == "|" and depth):
            break
        elif sign == "{":
            choice, at = _choice(template, at, depth + 1)
            add(choice)
        elif sign == "_" and (meant := _MEANT.match(template, at)):
            if not NAME.fullmatch(meant[1]):
                raise WildcardError(value=_short(meant[0]), allowed=_ALLOWED_NAME)
            add(File(meant[1]))
            at = meant.end()
        else:
            words.append(sign)
            at += 1
    if words:
        found.append("".join(words))
    return tuple(found), at


def _choice(template: str, opened: int, depth: int) -> tuple[Choice, int]:
    """The choice whose { is at `opened`, and what comes after its }."""
    if depth > DEEPEST:
        raise WildcardError(value=_near(template, opened), allowed=_ALLOWED_DEPTH)
    options: list[Parts] = []
    at = opened
    while at < len(template) and template[at] != "}":
        parts, at = _parts(template, at + 1, depth)
        options.append(parts)
    if at >= len(template):
        raise WildcardError(value=_near(template, opened), allowed=_ALLOWED_BRACES)
    return Choice(tuple(options)), at + 1


class _Expansion:
    """One prompt in the making; each draw takes the next number of its seed."""

    def __init__(self, seed: int, lines: Lines) -> None:
        self._seed = seed
        self._lines = lines
        self._draws = 0

    def text(self, parts: Parts, inside: tuple[str, ...]) -> str:
        return "".join(part if isinstance(part, str) else self._drawn(part, inside) for part in parts)

    def _drawn(self, part: Choice | File, inside: tuple[str, ...]) -> str:
        """`inside` are the files that are being read, outermost first."""
        if isinstance(part, Choice):
            return self.text(part.options[self._draw(len(part.options))], inside)
        chain = (*inside, part.name)
        if len(chain) > DEEPEST or part.name in inside:
            raise WildcardError(value=_short(" > ".join(chain)), allowed=_ALLOWED_CHAIN)
        lines = self._lines(part.name)
        return self.text(parse(lines[self._draw(len(lines))]), chain)

    def _draw(self, count: int) -> int:
        self._draws += 1
        if self._draws > MOST_DRAWS:
            words = localize("batch.wildcards.at_most_wildcards_in_a_prompt", most_draws=MOST_DRAWS)
            raise WildcardError(value=f"> {MOST_DRAWS}", allowed=words)
        digest = hashlib.sha256(f"{self._seed}:{self._draws}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % count


def _near(template: str, at: int) -> str:
    return _short(template[at:])


def _short(words: str, length: int = 40) -> str:
    return words if len(words) <= length else words[: length - 1] + "…"
