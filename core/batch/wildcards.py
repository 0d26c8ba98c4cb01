"""Expand a template to the prompt of one seed; `templates` parses the template.

The same template, seed and files make the same prompt on any machine: what is drawn comes from SHA-256 of the seed and of the
draw's number, not from a library's generator that may change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import accumulate

from core.batch.templates import Assignment, Choice, File, Part, Parts, Variable, Wrap, parse
from core.batch.wildcard_files import weights_of
from core.errors import WildcardError
from core.i18n import localize

DEEPEST = 20  # files that name files, variables that use variables
MOST_DRAWS = 1000  # in one prompt: files that name each other twice would double at each step
LONGEST = 100_000  # characters of a prompt

_CHAIN = localize("batch.wildcards.allowed_chain", deepest=DEEPEST)
_VALUE = localize("batch.wildcards.allowed_variable")

Lines = Callable[[str], Sequence[str]]  # name or pattern of files -> their lines; WildcardError when there are none


def expand(template: str, seed: int, lines: Lines, kind: str = "") -> str:
    """Return the prompt that `seed` makes of `template`; `kind` keeps the draws of several prompts of an image apart.

    Raises WildcardError with the value, its position and what is allowed.
    """
    return _Expansion(seed, lines, kind).text(parse(template), ())


class _Expansion:
    """One prompt in the making; each draw takes the next number of its seed."""

    def __init__(self, seed: int, lines: Lines, kind: str) -> None:
        self._seed = seed
        self._lines = lines
        self._kind = kind
        self._draws = 0
        self._length = 0
        self._values: dict[str, Parts] = {}

    def text(self, parts: Parts, inside: tuple[str, ...]) -> str:
        """Return the text of the parts; `inside` are the files and variables that are being read, outermost first."""
        return "".join(self._counted(part) if isinstance(part, str) else self._part(part, inside) for part in parts)

    def _counted(self, text: str) -> str:
        self._length += len(text)
        if self._length > LONGEST:
            allowed = localize("batch.wildcards.at_most_characters", most=LONGEST)
            raise WildcardError(value=f"> {LONGEST}", allowed=allowed)
        return text

    def _part(self, part: Part, inside: tuple[str, ...]) -> str:
        if isinstance(part, Choice):
            return self._selected(part, inside)
        if isinstance(part, File):
            return self._line(part, self._picked(part.name, part.cyclic), inside)
        if isinstance(part, Assignment):
            if not (part.keep and part.name in self._values):
                self._values[part.name] = (self.text(part.value, inside),) if part.now else part.value
            return ""
        if isinstance(part, Wrap):
            inner = self.text(part.inner, inside)
            outer = self.text(part.outer, inside)
            return outer.replace("...", inner) if "..." in outer else outer + inner
        assert isinstance(part, Variable)
        value = self._values.get(part.name, part.default)
        if value is None:
            raise WildcardError(value=part.near, allowed=_VALUE)
        return self.text(value, self._chained(f"${part.name}", inside))

    def _chained(self, name: str, inside: tuple[str, ...]) -> tuple[str, ...]:
        chain = (*inside, name)
        if len(chain) > DEEPEST or name in inside:
            raise WildcardError(value=" > ".join(chain)[:60], allowed=_CHAIN)
        return chain

    # -- files ---------------------------------------------------------------------------------------------------------

    def _picked(self, name: str, cyclic: bool) -> str:
        lines = self._lines(name)
        return lines[self._seed % len(lines) if cyclic else self._drawn(weights_of(lines), 1)[0]]

    def _line(self, file: File, line: str, inside: tuple[str, ...]) -> str:
        chain = self._chained(file.name, inside)
        outer = dict(self._values)
        self._values |= dict(file.given)
        try:
            return self.text(parse(line), chain)
        except WildcardError as error:
            if "file" in error.values or isinstance(error.values["value"], str):
                raise
            place = localize("batch.wildcards.in_file", name=file.name, near=error.values["value"])
            raise WildcardError(value=place, allowed=error.values["allowed"], file=file.name) from None
        finally:
            if file.given:
                self._values = outer

    # -- options -------------------------------------------------------------------------------------------------------

    def _selected(self, choice: Choice, inside: tuple[str, ...]) -> str:
        if len(choice.options) == 1 and len(choice.options[0]) == 1 and isinstance(choice.options[0][0], File):
            return self._several_lines(choice, choice.options[0][0], inside)
        count = choice.low if choice.low == choice.high else choice.low + self._draw(choice.high - choice.low + 1)
        if choice.cyclic:
            places = [(self._seed + k) % len(choice.options) for k in range(count)]
        else:
            places = self._drawn(list(choice.weights) or [1.0] * len(choice.options), count)
        return choice.separator.join(self.text(choice.options[place], inside) for place in places)

    def _several_lines(self, choice: Choice, file: File, inside: tuple[str, ...]) -> str:
        """{2$$__color__}: different lines of one file."""
        lines = self._lines(file.name)
        low, high = (min(bound, len(lines)) for bound in (choice.low, choice.high))
        count = low if low == high else low + self._draw(high - low + 1)
        places = self._drawn(weights_of(lines), count)
        return choice.separator.join(self._line(file, lines[place], inside) for place in places)

    def _drawn(self, weights: list[float], count: int) -> list[int]:
        """Draw `count` different places; of equal weights each draw is one number modulo their count."""
        places, found = [place for place, weight in enumerate(weights) if weight > 0], list[int]()
        while places and len(found) < count:
            left = [weights[place] for place in places]
            if len(set(left)) == 1:
                index = self._draw(len(places))
            else:
                point = self._number() / 2**64 * sum(left)
                index = next((k for k, end in enumerate(accumulate(left)) if point < end), len(places) - 1)
            found.append(places.pop(index))
        return found

    def _draw(self, count: int) -> int:
        return self._number() % count

    def _number(self) -> int:
        self._draws += 1
        if self._draws > MOST_DRAWS:
            words = localize("batch.wildcards.at_most_wildcards_in_a_prompt", most_draws=MOST_DRAWS)
            raise WildcardError(value=f"> {MOST_DRAWS}", allowed=words)
        digest = hashlib.sha256(f"{self._seed}:{self._kind}{self._draws}".encode()).digest()
        return int.from_bytes(digest[:8], "big")
