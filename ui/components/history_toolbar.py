"""Show the bars above the results: search, filters, sort, view, count, chips, import and export."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from core.server.listing import MAX_WORD, write_query
from core.studio import Studio
from core.types import HistoryQuery
from ui.components import history_filter, history_import
from ui.i18n import t
from ui.state import form as form_state
from ui.state import history as history_state
from ui.state import session

VIEWS = GALLERY, TABLE, STATISTICS = ("gallery", "table", "statistics")
TILES = {"s": 96, "m": 138, "l": 224}  # pixels
USUAL_TILE = "m"


def view(studio: Studio) -> str:
    """Return how images are shown: what the address says, else the setting."""
    asked = history_state.history_field("view")
    return asked if asked in VIEWS else str(studio.settings.ui.history_view)


def tile() -> int:
    """Return the least width of a tile in pixels."""
    return TILES.get(history_state.history_field("tiles"), TILES[USUAL_TILE])


def draw(studio: Studio) -> None:
    """Draw the bar with search, filters, sort, size of tiles and view."""
    shown = view(studio)
    with st.container(horizontal=True, vertical_alignment="center", key="filters"):
        history_filter.search()
        history_filter.menu(studio)
        if shown != STATISTICS:
            _sort()
        if shown == GALLERY:
            _tiles()
        form_state.give_widget("history_view", shown)
        st.segmented_control(
            t("history.view"), VIEWS, key=session.labelled("history_view"), required=True, label_visibility="collapsed",
            format_func={name: t(f"view.{name}") for name in VIEWS}.__getitem__, on_change=_take_view, args=(studio,),
        )  # fmt: skip


def _sort() -> None:
    sorts = history_filter.SORTS
    asked = history_state.history_field("sort")
    form_state.give_widget("history_sort", asked if asked in sorts else sorts[0])
    st.selectbox(
        t("history.sort"), sorts, key=session.labelled("history_sort"), label_visibility="collapsed",
        format_func={name: t(f"sort.{name}") for name in sorts}.__getitem__, on_change=_take_sort,
    )  # fmt: skip
    upwards = history_state.history_field("order") == history_filter.ASCENDING
    st.button(
        t("history.upwards" if upwards else "history.downwards"), key="history_direction",
        icon=f":material/arrow_{'upward' if upwards else 'downward'}:",
        help=t("history.upwards" if upwards else "history.downwards"), on_click=history_state.set_history_fields,
        args=({"order": "" if upwards else history_filter.ASCENDING},),
    )  # fmt: skip


def _take_sort() -> None:
    selected = st.session_state["history_sort"]
    history_state.set_history_fields({"sort": "" if selected == history_filter.SORTS[0] else selected})


def _tiles() -> None:
    asked = history_state.history_field("tiles")
    form_state.give_widget("history_tiles", asked if asked in TILES else USUAL_TILE)
    st.segmented_control(
        t("history.tiles"), list(TILES), key=session.labelled("history_tiles"), required=True, label_visibility="collapsed",
        format_func={name: t(f"tiles.{name}") for name in TILES}.__getitem__, on_change=_take_tiles,
    )  # fmt: skip


def _take_tiles() -> None:
    selected = st.session_state["history_tiles"]
    history_state.set_history_fields({"tiles": "" if selected == USUAL_TILE else selected})


def _take_view(studio: Studio) -> None:
    selected = st.session_state["history_view"]
    history_state.set_history_fields({"view": "" if selected == studio.settings.ui.history_view else selected})


def summary(query: HistoryQuery, total: int) -> None:
    """Draw how many were found, the chips of the filters, and what can be done with all."""
    with st.container(horizontal=True, vertical_alignment="center", key="selection"):
        st.text(t("history.found", total=total))
        history_filter.chips()
        if history_state.selection():
            return
        if total:
            choose_all(query)
        history_import.button()
        if total:
            export(query)


def choose_all(query: HistoryQuery) -> None:
    """Select all images that the query finds."""
    st.button(
        t("history.choose_all"), key="choose_all", icon=":material/select_all:", type="tertiary",
        on_click=history_state.select_found, args=(history_state.as_of_now(query),),
    )  # fmt: skip


def export(query: HistoryQuery) -> None:
    """Draw a menu of addresses that send the files while they are made."""
    word = write_query(replace(query, cursor=None, offset=0))
    with st.popover(t("history.export"), icon=":material/download:", key="export", type="tertiary"):
        if len(word) > MAX_WORD:
            st.text(t("history.too_many"))
            return
        for kind in ("csv", "parquet", "zip"):
            st.link_button(t(f"export.{kind}"), f"/api/exports/{kind}?query={word}", width="stretch")
