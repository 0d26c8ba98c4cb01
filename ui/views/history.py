"""All pictures ever made: gallery and table are two views of one query, the detail opens beside them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import HistoryPage, ImageRecord
from ui import formats, resources, state
from ui.components import elements, error_card, history_detail, history_filter
from ui.i18n import t


def page() -> None:
    studio = resources.studio()
    query, view = history_filter.draw(studio)
    try:
        found = studio.search(query)
    except StudioError as error:  # such as a text of 10,000 characters
        error_card.draw(error, "search")
        return
    for number, error in enumerate(state.errors()):
        error_card.draw(error, f"history{number}")
    record = _selected(studio)
    with st.container(key="archive_split" if record else "archive"):
        with st.container(key="found"):
            if not found.records:
                st.info(t("history.nothing"), icon=":material/filter_none:")
            elif view == "table":
                _table(found)
            else:
                elements.gallery(
                    found.records,
                    t("history.title"),
                    state.select_image,
                    key="gallery",
                    selected=record.id if record else None,
                )
            _pager(found)
        if record:
            with st.container(key="detail"):
                history_detail.draw(studio, record)


def _selected(studio: Studio) -> ImageRecord | None:
    image_id = state.selected_image()
    if not image_id:
        return None
    try:
        return studio.image(image_id)
    except StudioError as error:
        state.select_image(None)
        error_card.draw(error, "selected")
        return None


def _table(found: HistoryPage) -> None:
    """A click on a row opens it; a click on a heading sorts this page, the filter bar sorts everything."""
    frame = frame_of(found.records)
    columns = {name: st.column_config.Column(t(f"column.{name}")) for name in frame.columns}
    columns["picture"] = st.column_config.ImageColumn(t("column.picture"), width="small")
    columns["prompt"] = st.column_config.TextColumn(t("column.prompt"), width="large")
    columns["seconds"] = st.column_config.NumberColumn(t("column.seconds"), format="%.1f")
    columns["seed"] = st.column_config.NumberColumn(t("column.seed"), format="%d")
    event = st.dataframe(
        frame, hide_index=True, column_config=columns, on_select="rerun", selection_mode="single-row", height=620,
        key=f"table_{len(state.cursors())}",
    )  # fmt: skip
    rows = event.selection.rows
    if rows and found.records[rows[0]].id != state.selected_image():
        state.select_image(found.records[rows[0]].id)
        st.rerun()


def frame_of(records: tuple[ImageRecord, ...]) -> pd.DataFrame:
    """One row a picture."""
    return pd.DataFrame(
        {
            "picture": [elements.thumbnail_url(record.id) for record in records],
            "when": [formats.moment(record.created_at) for record in records],
            "prompt": [record.request.prompt for record in records],
            "model": [record.request.model for record in records],
            "size": [formats.pixels(record.width, record.height) for record in records],
            "steps": [record.request.num_inference_steps for record in records],
            "guidance": [record.request.guidance_scale for record in records],
            "seed": [record.request.seed for record in records],
            "seconds": [sum(record.timings.values()) for record in records],
        }
    )


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
