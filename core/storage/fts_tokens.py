"""Prepare text for the full-text index: Chinese, Japanese and Korean by the character, all else by the word.

SQLite's tokenizer takes a run of Chinese for one word, so "房子" would not be found in "红色的房子". With a space around
each such character a run becomes a row of words, and a phrase finds it at any length.
"""

from __future__ import annotations

import re
import unicodedata

from core.storage.infotext import well_formed

_BY_CHARACTER = re.compile(
    "([\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)

_OF_WORDS = frozenset(("Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Co"))
_ACCENTS = frozenset(chr(0x300 + k) for k in range(64) if 0x361F808029FDF >> k & 1)  # after their letter, by unicode61


def spaced(text: str) -> str:
    """Return `text` as it goes into the index."""
    return _BY_CHARACTER.sub(r" \1 ", well_formed(text))


def split(text: str) -> tuple[list[str], list[str]]:
    """Return the words of a search: those that the index knows, and those (100%, an emoji) that it has no word for."""
    words = well_formed(text).split()
    known = [word for word in words if any(mark.isalnum() for mark in word)]
    return known, [word for word in words if word not in known]


def tokens(text: str) -> list[str]:
    """Yield the words of `text` one by one, as SQLite's tokenizer (unicode61) takes them from `spaced` text."""
    found: list[str] = []
    word: list[str] = []
    for mark in spaced(text):
        if unicodedata.category(mark) in _OF_WORDS:
            word.append(_folded(mark))
        elif word and mark not in _ACCENTS:
            found.append("".join(word))
            word = []
    return [*found, "".join(word)] if word else found


def _folded(mark: str) -> str:
    """Return text in small letters, Latin ones without their accent if they have but one."""
    small = next((form for form in (mark.casefold(), mark.lower()) if len(form) == 1), mark.lower()[0])
    plain = unicodedata.normalize("NFD", small)
    return plain[0] if len(plain) == 2 and plain[0].isascii() else small


def match(words: list[str]) -> str:
    """Return the FTS5 expression that finds rows with every word; the last part of a word may go on ("hous" finds "house")."""
    return " AND ".join('"{}" *'.format(" ".join(spaced(word).split()).replace('"', '""')) for word in words)
