"""The filter bar of the history: from widgets to one HistoryQuery that gallery and table share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, tzinfo

import streamlit as st

from core.studio import Studio
from core.types import HistoryQuery
from ui import formats, state
from ui.i18n import t

SORTS = ("created_at", "seconds", "seed", "width", "height", "num_inference_steps", "guidance_scale")
VIEWS = ("gallery", "table")


def draw(studio: Studio) -> tuple[HistoryQuery, str]:
    """The query of the present page, and "gallery" or "table"."""
    with st.container(horizontal=True, vertical_alignment="top", key="filters"):
        text = st.text_input(
            t("history.text"), key="history_text", placeholder=t("history.text_hint"), on_change=state.first_page
        )
        models = [model.id for model in studio.models()]
        model = st.selectbox(
            t("history.model"), models, index=None, key="history_model", placeholder=t("history.any"), accept_new_options=True,
            on_change=state.first_page,
        )  # fmt: skip
        days = st.date_input(
            t("history.dates"), (), key="history_dates", on_change=state.first_page, format="YYYY-MM-DD"
        )
        size = st.selectbox(
            t("history.size"), _sizes(studio), index=None, key="history_size", placeholder=t("history.any"),
            accept_new_options=True, on_change=state.first_page,
        )  # fmt: skip
        sort = st.selectbox(
            t("history.sort"),
            SORTS,
            key="history_sort",
            format_func={name: t(f"sort.{name}") for name in SORTS}.get,
            on_change=state.first_page,
        )
        view = st.segmented_control(
            t("history.view"), VIEWS, key="history_view", default=studio.settings["ui.history_view"], required=True,
            format_func={name: t(f"view.{name}") for name in VIEWS}.get,
        )  # fmt: skip
    width, height = parse_size(size)
    if size and width is None:
        st.warning(t("history.bad_size", came=size))
    since, until = day_range(days, formats.local_zone())
    query = HistoryQuery(
        text=text or "",
        model=model,
        since=since,
        until=until,
        width=width,
        height=height,
        sort=sort,
        limit=int(studio.settings["ui.history_page_size"]),
        cursor=state.cursors()[-1],
    )
    return query, view


def _sizes(studio: Studio) -> list[str]:
    """The sizes of the latest pictures; any other can be typed."""
    recent = studio.search(HistoryQuery(limit=60)).records
    return list(dict.fromkeys(f"{record.width}x{record.height}" for record in recent))


def parse_size(words: str | None) -> tuple[int | None, int | None]:
    """ "512x288" as numbers; (None, None) where there is none."""
    found = re.fullmatch(r"\s*(\d{1,6})\s*[x×*]\s*(\d{1,6})\s*", words or "")
    return (int(found[1]), int(found[2])) if found else (None, None)


def day_range(days: Sequence[date], zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """Whole days of the viewer, from the first to the last; one day alone is a beginning."""
    since = datetime.combine(days[0], time.min, zone) if days else None
    until = datetime.combine(days[1], time.max, zone) if len(days) > 1 else None
    return since, until
