"""Show what was found as a table: the selected columns, less those that are equal in all rows."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.config.options import SCHEMA
from core.types import HistoryPage, ImageRecord
from ui import formats
from ui.components import custom_components
from ui.i18n import localized, t
from ui.state import history as history_state
from ui.state import session

SHOWN = ("image", "when", "prompt", "model", "size", "steps", "guidance", "seed", "seconds", "rating", "tags")
ALWAYS = ("image", "prompt")
SEED_WIDTH = 150  # pixels: the longest seed has 16 digits


def draw(found: HistoryPage) -> None:
    """Draw the rows: a click on one opens the image, a tick selects it. A heading sorts this page, the toolbar everything."""
    frame = frame_of(found.records)
    with st.container(horizontal=True, vertical_alignment="center", key="table_bar"):
        with st.popover(t("history.columns"), icon=":material/view_column:", key="columns"):
            names = list(frame.columns)
            shown = st.multiselect(
                t("history.columns"), names, list(SHOWN), key=session.labelled("history_columns"), format_func=column_name,
                label_visibility="collapsed",
            )  # fmt: skip
            vary = st.toggle(t("history.vary"), value=True, key="history_vary")
        frame, equal = without_equal(frame[shown]) if vary else (frame[shown], {})
        if equal:
            custom_components.quiet(
                t("history.equal", what=" · ".join(f"{column_name(k)}: {v or '–'}" for k, v in equal.items()))
            )
    key = f"table_{len(history_state.cursors())}_{history_state.selection_version()}"
    event = st.dataframe(
        frame, hide_index=True, column_config=_config(frame), on_select="rerun", selection_mode=["multi-row", "single-cell"],
        height=560, row_height=56, key=key, placeholder=t("fact.unknown"),
    )  # fmt: skip
    selection = event.selection
    selected = tuple(found.records[row].id for row in selection.rows if row < len(found.records))
    cell = selection.cells[0][0] if selection.cells else None
    clicked = found.records[cell].id if cell is not None and cell < len(found.records) else None
    before = history_state.table_choice(key), history_state.table_cell()
    if before == (selected, clicked):
        return
    history_state.set_table_cell(clicked)
    if history_state.table_choice(key) != selected:
        history_state.set_table_choice(key, selected)
    if clicked is not None and clicked != before[1]:
        history_state.select_image(clicked)
    st.rerun()


def frame_of(records: tuple[ImageRecord, ...]) -> pd.DataFrame:
    """Return one row an image: what is said of each, and every advanced option under its key."""
    columns = {
        "image": [custom_components.thumbnail_url(record.id) for record in records],
        "when": [formats.moment(record.created_at) for record in records],
        "prompt": [record.known("prompt") for record in records],
        "negative": [record.known("negative_prompt") for record in records],
        "model": [record.known("model") for record in records],
        "size": [formats.pixels(record.width, record.height) for record in records],
        "steps": [record.known("num_inference_steps") for record in records],
        "guidance": [record.known("cfg_scale") for record in records],
        "seed": [record.known("seed") for record in records],
        "seconds": [record.seconds for record in records],
        "rating": [record.marks.rating for record in records],
        "favourite": [record.marks.favourite for record in records],
        "tags": [", ".join(record.marks.tags) for record in records],
        "note": [record.marks.note for record in records],
        "format": [record.format for record in records],
        "bytes": [record.bytes for record in records],
    }
    options = {
        option.key: [formats.plain(record.request.options.get(option.key)) for record in records]
        for option in SCHEMA.request_options()
    }
    return pd.DataFrame({**columns, **options})


def without_equal(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the columns that differ somewhere, and what all rows have in common; one row alone has nothing to compare."""
    if len(frame) < 2:
        return frame, {}
    equal = [name for name in frame.columns if name not in ALWAYS and frame[name].nunique(dropna=False) == 1]
    return frame.drop(columns=equal), {name: formats.plain(frame[name].iloc[0].item()
                                       if hasattr(frame[name].iloc[0], "item") else frame[name].iloc[0])
                                       for name in equal}  # fmt: skip


def column_name(name: str) -> str:
    """Return the heading of a column, in the page's language."""
    option = SCHEMA.options.get(name)
    return localized(option.label) if option else t(f"column.{name}")


def _config(frame: pd.DataFrame) -> dict:
    config: dict = {name: st.column_config.Column(column_name(name)) for name in frame.columns}
    kinds = {
        "image": st.column_config.ImageColumn(t("column.image"), width="small"),
        "prompt": st.column_config.TextColumn(t("column.prompt"), width="large"),
        "seconds": st.column_config.NumberColumn(t("column.seconds"), format="%.1f"),
        "seed": st.column_config.NumberColumn(t("column.seed"), format="%d", width=SEED_WIDTH),
        "bytes": st.column_config.NumberColumn(t("column.bytes"), format="bytes"),
    }
    return {**config, **{name: kind for name, kind in kinds.items() if name in frame.columns}}
