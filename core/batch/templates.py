"""Read templates of prompts: variants, wildcards and variables, after the grammar of sd-dynamic-prompts.

    {red|blue|} house              one of them, the last being nothing; options may hold options
    {0.5::red|2::blue}             weighted
    {2$$a|b|c} {1-3$$ and $$a|b}   several different ones, joined by a comma or by the text between the $$
    {@a|b} __@color__              one after the other, by the seed
    __color__ __art/*__ __art/**__ a line of a file, of several files, of a folder with all below it
    __style(medium=oil)__          with a variable for the lines of the file
    ${c={red|blue}} ${c}           a variable, resolved at each use; ${c=!...} once; ${c?=...} keeps a value that it has
    ${c:red}                       its value, or red
    %{a photo of ...$$a house}     wraps: the text after $$ comes in place of the dots
    # a comment                    to the end of the line, at its start or between spaces
    \\{ \\} \\| \\_ \\$ \\\\             these characters themselves

Braces with none of this in them, JSON for one, are text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from core.errors import WildcardError
from core.i18n import localize

SEGMENT = r"[^\W_](?:[\w.-]*[\w-])?"  # of a name: no leading dot, so that no name leads upwards
NAME = re.compile(rf"{SEGMENT}(?:/{SEGMENT})*")
DEEPEST = 20  # braces within braces
SEPARATOR = ","  # of several options, as in sd-dynamic-prompts
MOST = 100  # options that one group may take
LONGEST_SHOWN = 40  # characters of what was refused

_GLOB = re.compile(r"[\w*](?:[\w.*-]*[\w*-])?(?:/[\w*](?:[\w.*-]*[\w*-])?)*")
_MEANT = re.compile(  # whoever writes this means a file
    r"__([~@!]?)([^\s_{}|\\()](?:[^\s{}|\\()]*?[^\s_{}|\\()])?)(?:\(([^()]*)\))?__"
)
_VARIABLE = re.compile(r"\$\{\s*([A-Za-z_][\w-]*)\s*(\?=!?|=!?|:|(?=\}))")
_BOUNDS = re.compile(r"\s*([~@!]?)\s*(?:([^{}|$]*)\$\$(?:([^{}$]*)\$\$)?)?")
_RANGE = re.compile(r"\s*(?:(\d{1,6})|(\d{1,6})?\s*-\s*(\d{1,6})?)\s*")
_WEIGHT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*::")
_COMMENT = re.compile(r"^[ \t]*#(?=\s|$)[^\n]*|(?<=\s)#(?=\s)[^\n]*", re.MULTILINE)
_ESCAPED = "{}|_$\\"

_BRACES = localize("batch.wildcards.allowed_braces")
_DEPTH = localize("batch.wildcards.allowed_depth", deepest=DEEPEST)
_NAMES = localize("batch.wildcards.allowed_name")
_RANGES = localize("batch.wildcards.allowed_range", most=MOST)
_WEIGHTS = localize("batch.wildcards.allowed_weight")
_METHODS = localize("batch.wildcards.allowed_method")
_WRAPS = localize("batch.wildcards.allowed_wrap")


@dataclass(frozen=True)
class Choice:
    """One of these, or `low` to `high` different ones with `separator` between them. `cyclic`: by the seed, in order."""

    options: tuple[Parts, ...]
    weights: tuple[float, ...] = ()
    low: int = 1
    high: int = 1
    separator: str = SEPARATOR
    cyclic: bool = False


@dataclass(frozen=True)
class File:
    """A line of the files of this name or pattern. `given`: variables for its lines."""

    name: str
    cyclic: bool = False
    given: tuple[tuple[str, Parts], ...] = ()


@dataclass(frozen=True)
class Variable:
    """The value of a variable, or the default."""

    name: str
    default: Parts | None
    near: Mapping[str, str]


@dataclass(frozen=True)
class Assignment:
    """Give a variable a value. `now`: resolve it here, not at each use. `keep`: a value that it has stays."""

    name: str
    value: Parts
    now: bool
    keep: bool


@dataclass(frozen=True)
class Wrap:
    """`inner` in place of the dots of `outer`."""

    outer: Parts
    inner: Parts


Part = str | Choice | File | Variable | Assignment | Wrap
Parts = tuple[Part, ...]


def is_template(prompt: str) -> bool:
    """Return True if anything in the prompt is more than text. One that can't be read is a template, too."""
    if not any(sign in prompt for sign in ("{", "__", "#")):
        return False
    try:
        return bool(_COMMENT.search(prompt)) or any(not isinstance(part, str) for part in parse(prompt))
    except WildcardError:
        return True


@lru_cache(maxsize=256)  # a template of a batch is expanded once for each image
def parse(template: str) -> Parts:
    """Return the parts of a template. Raises WildcardError with the place of what can't be meant."""
    without = _COMMENT.sub(lambda found: " " * len(found[0]), template)
    parts = _Reader(without).parts(0, len(without), 0)
    if without != template or any(isinstance(part, Assignment) for part in parts):
        return _tidied(parts)
    return parts


def near(text: str, at: int) -> dict[str, str]:
    """Return what stands at a place of a template, and where that is."""
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    shown = " ".join(text[at:].split())
    shown = shown if len(shown) <= LONGEST_SHOWN else shown[: LONGEST_SHOWN - 1] + "…"
    if line > 1:
        return localize("batch.wildcards.near_line", text=shown, line=line, column=column)
    return localize("batch.wildcards.near", text=shown, column=column)


def _tidied(parts: Parts) -> Parts:
    """Drop the space that comments and assignments leave: at both ends, at line ends, and where lines are empty."""
    found: list[Part] = []
    for place, part in enumerate(parts):
        if isinstance(part, str):
            part = re.sub(r"[ \t]*\n\s*", "\n", part)
            if not [one for one in found if not isinstance(one, Assignment)]:
                part = part.lstrip()
            if place == len(parts) - 1:
                part = part.rstrip()
        if part != "":
            found.append(part)
    return tuple(found)


class _Reader:
    """Reads one template. Braces are matched first, so that each group knows what is its own."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._closing = dict(self._pairs())
        signs = (place for sign in ("|", "$$") for place in self._own(0, len(text), sign))
        self._last_sign = max(signs, default=-1)  # in no group that is closed

    def _pairs(self) -> Iterator[tuple[int, int]]:
        opened: list[int] = []
        at = 0
        while at < len(self._text):
            sign = self._text[at]
            if sign == "\\" and self._text[at + 1 : at + 2] in tuple(_ESCAPED):
                at += 1
            elif sign == "{":
                opened.append(at)
            elif sign == "}" and opened:
                yield opened.pop(), at
            at += 1

    def parts(self, at: int, end: int, depth: int, raw: bool = False) -> Parts:
        """Read from `at` to `end`. `raw`: backslashes are text, as within JSON."""
        found: list[Part] = []
        words: list[str] = []

        def add(*parts: Part) -> None:
            for part in parts:
                if isinstance(part, str):
                    words.append(part)
                    continue
                if words:
                    found.append("".join(words))
                    words.clear()
                found.append(part)

        while at < end:
            sign = self._text[at]
            if sign == "\\" and not raw and self._text[at + 1 : at + 2] in tuple(_ESCAPED):
                add(self._text[at + 1])
                at += 2
            elif sign in "$%{" and (group := self._group(at, end, depth, raw)) is not None:
                parts, at = group
                add(*parts)
            elif sign == "_" and (meant := _MEANT.match(self._text, at, end)):
                add(self._file(meant))
                at = meant.end()
            else:
                add(sign)
                at += 1
        if words:
            found.append("".join(words))
        return tuple(found)

    def _group(self, at: int, end: int, depth: int, raw: bool) -> tuple[Parts, int] | None:
        """Return what begins at a $, % or {, and where it ends; None where that is text."""
        opened = at + (self._text[at] != "{")
        if self._text[opened : opened + 1] != "{":
            return None
        variable = _VARIABLE.match(self._text, at, end) if self._text[at] == "$" else None
        close = self._closing.get(opened, -1)
        if close < 0:
            if variable or (self._text[at] == "{" and self._last_sign > opened):
                raise WildcardError(value=near(self._text, at), allowed=_BRACES)
            return None
        wraps = self._text[at] == "%" and bool(list(self._own(opened + 1, close, "$$")))
        meant = variable or wraps or (self._text[at] == "{" and self._is_choice(opened, close))
        if depth >= DEEPEST and meant:
            raise WildcardError(value=near(self._text, at), allowed=_DEPTH)
        if variable:
            return (self._variable(variable, close, depth),), close + 1
        if wraps:
            return (self._wrap(at, opened, close, depth),), close + 1
        if self._text[at] != "{":
            return None
        if not meant or self._is_json(opened, close):
            if depth > 5 * DEEPEST:
                return (self._text[opened : close + 1],), close + 1
            inner = self.parts(opened + 1, close, depth + 1, raw or self._is_json(opened, close))
            return ("{", *inner, "}"), close + 1
        return (self._choice(opened, close, depth),), close + 1

    def _own(self, at: int, end: int, sign: str) -> Iterator[int]:
        """Yield the places of a sign that are in no group within this one."""
        while at < end:
            if self._text[at] == "\\" and self._text[at + 1 : at + 2] in tuple(_ESCAPED):
                at += 2
            elif self._text[at] == "{":
                at = self._closing.get(at, at) + 1
            elif self._text.startswith(sign, at):
                yield at
                at += len(sign)
            else:
                at += 1

    def _is_choice(self, opened: int, end: int) -> bool:
        return (
            next(self._own(opened + 1, end, "|"), None) is not None
            or next(self._own(opened + 1, end, "$$"), None) is not None
            or _WEIGHT.match(self._text, opened + 1, end) is not None
        )

    def _is_json(self, opened: int, close: int) -> bool:
        if self._text[opened + 1 : close].lstrip()[:1] != '"':
            return False
        try:
            return isinstance(json.loads(self._text[opened : close + 1]), dict)
        except (ValueError, RecursionError):
            return False

    def _choice(self, opened: int, close: int, depth: int) -> Choice:
        bounds = _BOUNDS.match(self._text, opened + 1, close)
        assert bounds is not None  # it may be empty
        method, count, separator = bounds.groups()
        if method == "!":
            raise WildcardError(value=near(self._text, opened), allowed=_METHODS)
        start = bounds.end() if count is not None or method else opened + 1
        places = [start - 1, *self._own(start, close, "|"), close]
        options, weights = [], []
        for before, after in pairwise(places):
            weight = _WEIGHT.match(self._text, before + 1, after)
            weights.append(float(weight[1]) if weight else 1.0)
            first, last = self._trimmed(weight.end() if weight else before + 1, after)
            options.append(self.parts(first, last, depth + 1))
        if min(weights) < 0 or sum(weights) <= 0:
            raise WildcardError(value=near(self._text, opened), allowed=_WEIGHTS)
        plain = len(set(weights)) == 1
        low, high = self._range(count, opened, len(options), options)
        joint = SEPARATOR if separator is None else separator
        return Choice(tuple(options), () if plain else tuple(weights), low, high, joint, method == "@")

    def _trimmed(self, first: int, last: int) -> tuple[int, int]:
        """Leave out the line breaks around an option; spaces on its line belong to it."""
        text = self._text[first:last]
        head, tail = re.match(r"\s*\n\s*", text), re.search(r"\s*\n\s*$", text)
        start = head.end() if head else 0
        return first + start, first + max(start, tail.start() if tail else len(text))

    def _range(self, count: str | None, opened: int, options: int, found: list[Parts]) -> tuple[int, int]:
        if count is None:
            return 1, 1
        read = _RANGE.fullmatch(count)
        one_file = options == 1 and len(found[0]) == 1 and isinstance(found[0][0], File)
        most = MOST if one_file else options
        if read is None or not count.strip():
            raise WildcardError(value=near(self._text, opened), allowed=_RANGES)
        if read[1] is not None:
            low = high = int(read[1])
        else:
            low, high = int(read[2] or 1), int(read[3] or max(most, int(read[2] or 1)))
        if low > high or high > MOST:
            raise WildcardError(value=near(self._text, opened), allowed=_RANGES)
        return min(low, most), min(high, most)

    def _file(self, meant: re.Match[str]) -> File:
        method, name, given = meant.groups()
        if method == "!":
            raise WildcardError(value=near(self._text, meant.start()), allowed=_METHODS)
        if not _GLOB.fullmatch(name):
            raise WildcardError(value=near(self._text, meant.start()), allowed=_NAMES)
        pairs = [pair.partition("=") for pair in given.split(",")] if given else []
        if any(not re.fullmatch(r"\s*[A-Za-z_][\w-]*\s*", key) or not equals for key, equals, _ in pairs):
            raise WildcardError(value=near(self._text, meant.start()), allowed=_NAMES)
        return File(name, method == "@", tuple((key.strip(), parse(value.strip())) for key, _, value in pairs))

    def _variable(self, variable: re.Match[str], close: int, depth: int) -> Variable | Assignment:
        name, sign = variable.groups()
        first, last = self._trimmed(variable.end(), close)
        if sign in ("", ":"):
            default = self.parts(first, last, depth + 1) if sign else None
            return Variable(name, default, near(self._text, variable.start()))
        return Assignment(name, self.parts(first, last, depth + 1), sign.endswith("!"), sign.startswith("?"))

    def _wrap(self, at: int, opened: int, close: int, depth: int) -> Wrap:
        places = list(self._own(opened + 1, close, "$$"))
        outer = self.parts(*self._trimmed(opened + 1, places[0]), depth + 1)
        dots = sum(part.count("...") for part in outer if isinstance(part, str))
        if len(places) > 1 or dots > 1:
            raise WildcardError(value=near(self._text, at), allowed=_WRAPS)
        return Wrap(outer, self.parts(*self._trimmed(places[0] + 2, close), depth + 1))
