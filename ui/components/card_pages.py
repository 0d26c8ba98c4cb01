"""Show a part of many cards: those whose names have what is typed, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

from ui.i18n import t

SHOWN = 30  # cards of a page: a thousand take seconds to draw
_T = TypeVar("_T")


def selected(items: Sequence[_T], key: str, name_of: Callable[[_T], str]) -> list[_T]:
    """Return the items to show: all where they fit on a page; else with a search field and a choice of the page above.

    `key` begins the keys of both: KEY_find and KEY_page.
    """
    if len(items) <= SHOWN:
        return list(items)
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"{key}_pages"):
        words = st.text_input(t("cards.find"), key=f"{key}_find").casefold()
        found = [item for item in items if words in name_of(item).casefold()]
        first = st.selectbox(
            t("cards.page"),
            range(0, max(1, len(found)), SHOWN),
            format_func=lambda start: f"{min(start + 1, len(found))}–{min(start + SHOWN, len(found))} / {len(found)}",
            key=f"{key}_page",
        )
    return found[first : first + SHOWN]
