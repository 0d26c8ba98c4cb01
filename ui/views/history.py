"""All images ever made: gallery and table are two views of one query, the detail opens beside them."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from core.errors import StudioError
from core.server.listing import PART
from core.studio import Studio
from core.types import HistoryPage, HistoryQuery, ImageRecord
from ui import actions, resources, state
from ui.components import (
    custom_components,
    error_card,
    history_detail,
    history_filter,
    history_import,
    history_selection,
    history_table,
)
from ui.i18n import t


def page() -> None:
    studio = resources.studio()
    query, view = history_filter.draw(studio)
    if view == "gallery":  # it asks for the rest by itself, by place
        query = replace(query, limit=PART, cursor=None)
    try:
        found = studio.history.search(query)
    except StudioError as error:  # such as a text of 10,000 characters
        error_card.draw(error, "search")
        return
    for number, error in enumerate(state.errors()):
        error_card.draw(error, f"history{number}")
    record = _selected(studio)
    with st.container(key="archive_split" if record else "archive"):
        with st.container(key="found"):
            history_selection.draw(studio, query, found.total)
            if not found.records:
                st.info(t("history.nothing"), icon=":material/filter_none:")
            elif view == "table":
                history_table.draw(found)
                _pager(found)
            else:
                _gallery(studio, query, found, record)
        if record:
            with st.container(key="detail"):
                history_detail.draw(studio, record, query)
    history_import.draw(studio)


def _gallery(studio: Studio, query: HistoryQuery, found: HistoryPage, record: ImageRecord | None) -> None:
    custom_components.grid(
        query,
        found,
        t("history.title"),
        key="gallery",
        version=state.history_version(),
        selection=(state.selection_version(), state.chosen()),
        opened=record.id if record else None,
        on_pick=state.select_image,
        on_choose=state.click_choice,
        on_favourite=lambda image_id: actions.toggle_favourite(studio, image_id),
    )


def _selected(studio: Studio) -> ImageRecord | None:
    image_id = state.selected_image()
    if not image_id:
        return None
    try:
        return studio.history.get(image_id)
    except StudioError as error:
        state.select_image(None)
        error_card.draw(error, "selected")
        return None


def _pager(found: HistoryPage) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="pager"):
        first = len(state.cursors()) == 1
        st.button(
            t("history.newer"),
            key="newer",
            disabled=first,
            icon=":material/chevron_left:",
            on_click=state.previous_page,
        )
        st.text(t("history.count", page=len(state.cursors()), total=found.total))
        st.button(
            t("history.older"), key="older", disabled=found.next_cursor is None, icon=":material/chevron_right:",
            on_click=state.next_page, args=(found.next_cursor,),
        )  # fmt: skip


page()
