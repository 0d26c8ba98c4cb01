"""Look up the texts of the pages in two languages: `t("history.title")` reads ui/locales/<language>.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from core.errors import LANGUAGES
from core.i18n import filled, read_catalogue
from ui.state import session

LOCALES = Path(__file__).parent / "locales"


@cache
def texts(language: str) -> Mapping[str, str]:
    """Return all texts of a language by dotted key."""
    return read_catalogue(LOCALES / f"{language}.yaml")


def t(key: str, **values: object) -> str:
    """Return the text of `key` in the viewer's language, with `values` filled in."""
    return filled(texts(session.language())[key], values)


def known(key: str) -> bool:
    """Return True if there is a text, for keys from elsewhere such as the code of an error."""
    return key in texts(LANGUAGES[0])


def localized(words: Mapping[str, str]) -> str:
    """Return the viewer's language of a text that core declares in both."""
    return words.get(session.language()) or words.get("en") or next(iter(words.values()), "")
