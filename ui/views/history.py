"""Show the history: places at the left; gallery, table or statistics of one query; the open image at the right."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from core.errors import StudioError
from core.server.listing import PART
from core.studio import Studio
from core.types import HistoryCounts, HistoryPage, HistoryQuery, ImageRecord
from ui import resources
from ui.actions import annotate
from ui.components import (
    custom_components,
    error_card,
    history_detail,
    history_filter,
    history_import,
    history_selection,
    image_card,
)
from ui.i18n import t
from ui.state import history as history_state
from ui.state import session as page_state


def page() -> None:
    studio = resources.studio()
    history_state.open_history()
    counts = studio.history.counts()
    record = _selected(studio)
    with st.container(key="archive_split" if record else "archive"):
        with st.container(key="places_zone"):
            history_selection.render_places(counts)
            history_selection.hidden(studio)
        with st.container(key="found"):
            query = _found(studio, counts, record)
        if record:
            with st.container(key="detail"):
                history_detail.render(studio, record, query)
    custom_components.keys(key="keys", on_key=lambda event: annotate.history_key(studio, query, event))
    history_import.render(studio)


def _found(studio: Studio, counts: HistoryCounts, record: ImageRecord | None) -> HistoryQuery:
    """Draw the bars and what was found; return what was asked for."""
    errors = page_state.errors()
    if len(errors) > 1:  # of an import
        error_card.files(errors, "history_files", on_close=lambda: page_state.set_errors(()))
    for number, error in enumerate(errors if len(errors) == 1 else ()):
        error_card.render(error, f"history{number}", on_close=lambda: page_state.set_errors(()))
    bar = st.container(key="bar")
    query, view = history_filter.query(studio), history_selection.view(studio)
    if view == history_selection.GALLERY:  # it asks for the rest by itself, by place
        query = replace(query, limit=PART, cursor=None)
    number = history_selection.count(studio)
    if not number:
        with bar:  # first: what was typed into it is not lost where the search fails
            history_selection.render_toolbar(studio)
    try:
        found = studio.history.search(query)
        if number:
            with bar:
                history_selection.render(studio, query, number, found.total)
        if query.trashed:
            history_selection.trash_banner(studio, counts.trash)
        history_selection.summary(query, found.total)
        if not found.records:
            st.info(t("history.nothing"), icon=":material/filter_none:")
        elif view == history_selection.TABLE:
            image_card.render_table(found)
            _pager(found)
        elif view == history_selection.STATISTICS:
            history_filter.render_statistics(studio, query)
        else:
            _gallery(query, found, record)
    except StudioError as error:  # such as a text of 10,000 characters
        error_card.render(error, "search")
    return query


def _gallery(query: HistoryQuery, found: HistoryPage, record: ImageRecord | None) -> None:
    custom_components.grid(
        query,
        found,
        t("history.title"),
        key="gallery",
        version=history_state.history_version(),
        selection=(history_state.selection_version(), history_state.selection()),
        opened=record.id if record else None,
        tile=history_selection.tile(),
        on_pick=history_state.select_image,
        on_select=history_state.click_choice,
    )


def _selected(studio: Studio) -> ImageRecord | None:
    image_id = history_state.selected_image()
    if not image_id:
        return None
    try:
        return studio.history.get(image_id)
    except StudioError as error:
        history_state.select_image(None)
        error_card.render(error, "selected")
        return None


def _pager(found: HistoryPage) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="pager"):
        first = len(history_state.cursors()) == 1
        st.button(
            t("history.newer"),
            key="newer",
            disabled=first,
            icon=":material/chevron_left:",
            on_click=history_state.previous_page,
        )
        st.text(t("history.count", page=len(history_state.cursors()), total=found.total))
        st.button(
            t("history.older"), key="older", disabled=found.next_cursor is None, icon=":material/chevron_right:",
            on_click=history_state.next_page, args=(found.next_cursor,),
        )  # fmt: skip


page()
