"""What the History page remembers: the open image, what is chosen, the pages gone through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import streamlit as st

from core.types import HistoryQuery, ImageSelection

_SELECTED = "selected_image"
_CURSORS = "history_cursors"
_UPWARDS = "history_upwards"
_IMPORTING = "importing"
_TABLE = "table_choice"
_CHOSEN = "chosen_images"
_SELECTION = "selection_version"
_HISTORY = "history_version"


def selected_image() -> str | None:
    """The image whose detail is open; its id is in the address, so that it can be linked to."""
    if "image" in st.query_params:
        st.session_state[_SELECTED] = st.query_params["image"]
    return st.session_state.get(_SELECTED)


def select_image(image_id: str | None) -> None:
    st.session_state[_SELECTED] = image_id
    if image_id:
        st.query_params["image"] = image_id
    elif "image" in st.query_params:
        del st.query_params["image"]


def chosen() -> ImageSelection:
    """What is chosen in the gallery or the table, for what is done with many: ids, or all that a question finds."""
    kept: ImageSelection = st.session_state.get(_CHOSEN, ())
    return kept


def chosen_images() -> tuple[str, ...]:
    """The images that were chosen one by one."""
    kept = chosen()
    return () if isinstance(kept, HistoryQuery) else tuple(kept)


def choose_images(ids: Iterable[str], by_page: bool = False) -> None:
    """`by_page`: not by a click in the gallery, which is told, then."""
    st.session_state[_CHOSEN] = tuple(ids)
    if by_page:
        st.session_state[_SELECTION] = selection_version() + 1


def choose_found(query: HistoryQuery) -> None:
    """All that `query` finds, less what is taken out again by clicks in the gallery."""
    st.session_state[_CHOSEN] = query
    st.session_state[_SELECTION] = selection_version() + 1


def click_choice(ids: Iterable[str]) -> None:
    """What the gallery says after a click: the chosen ones, or, while all are chosen, the exceptions."""
    kept = chosen()
    st.session_state[_CHOSEN] = replace(kept, without=tuple(ids)) if isinstance(kept, HistoryQuery) else tuple(ids)


def table_choice(table: str) -> tuple[str, ...]:
    """Return what was ticked in this table when it was last rendered; another page of it begins with nothing."""
    kept: tuple[str, tuple[str, ...]] = st.session_state.get(_TABLE, ("", ()))
    return kept[1] if kept[0] == table else ()


def set_table_choice(table: str, ids: tuple[str, ...]) -> None:
    """What is ticked in the table is what is chosen."""
    st.session_state[_TABLE] = (table, ids)
    choose_images(ids)


def selection_version() -> int:
    return int(st.session_state.get(_SELECTION, 0))


def history_version() -> int:
    """Changes when images were marked or moved, so that the gallery asks again."""
    return int(st.session_state.get(_HISTORY, 0))


def renew_history() -> None:
    st.session_state[_HISTORY] = history_version() + 1


def cursors() -> list[str | None]:
    """The pages gone through, by their cursor; the last is the present one."""
    return st.session_state.setdefault(_CURSORS, [None])


def first_page() -> None:
    """Another filter: start again. Images that were chosen one by one stay so; all that the other filter found do not."""
    st.session_state[_CURSORS] = [None]
    if isinstance(chosen(), HistoryQuery):
        choose_images((), by_page=True)


def importing() -> bool:
    """Whether the dialog for images from elsewhere is open."""
    return bool(st.session_state.get(_IMPORTING))


def set_importing(value: bool) -> None:
    st.session_state[_IMPORTING] = value


def sorted_upwards() -> bool:
    """Whether the smallest, or the oldest, comes first."""
    return bool(st.session_state.get(_UPWARDS))


def turn_order() -> None:
    st.session_state[_UPWARDS] = not sorted_upwards()
    first_page()


def next_page(cursor: str) -> None:
    cursors().append(cursor)


def previous_page() -> None:
    if len(cursors()) > 1:
        cursors().pop()
