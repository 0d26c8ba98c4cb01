"""The filter bar of the history: from widgets to one HistoryQuery that gallery and table share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, tzinfo
from typing import Any

import streamlit as st

from core.config.options import SCHEMA
from core.config.schema import Option
from core.errors import InputError
from core.studio import Studio
from core.types import HistoryQuery
from ui import state
from ui.components import custom_components
from ui.i18n import said, t
from ui.timezone import local_zone

SORTS = (
    "created_at", "rating", "favourite", "seconds", "seed", "width", "height", "num_inference_steps", "cfg_scale",
    "model", "format", "bytes",
)  # fmt: skip
VIEWS = ("gallery", "table")
PLACES = ("all", "favourites", "missing", "trash")
FORMATS = ("png", "jpeg", "webp")


def draw(studio: Studio) -> tuple[HistoryQuery, str]:
    """The query of the present page, and "gallery" or "table"."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        text = st.text_input(
            t("history.text"), key="history_text", placeholder=t("history.text_hint"), on_change=state.first_page,
            help=t("history.text_help"),
        )  # fmt: skip
        models = [model.id for model in studio.catalog.models()]
        model = _choice("model", models)
        days = st.date_input(
            t("history.dates"), (), key="history_dates", on_change=state.first_page, format="YYYY-MM-DD"
        )
        size = _choice("size", _sizes(studio))
        sort = st.selectbox(
            t("history.sort"),
            SORTS,
            key=state.labelled("history_sort"),
            format_func={name: t(f"sort.{name}") for name in SORTS}.get,
            on_change=state.first_page,
        )
        upwards = state.sorted_upwards()
        st.button(
            "", key="history_direction", icon=f":material/arrow_{'upward' if upwards else 'downward'}:",
            help=t("history.upwards" if upwards else "history.downwards"), on_click=state.turn_order,
        )  # fmt: skip
        with st.popover(t("history.more"), icon=":material/tune:", key="more_filters"):
            more = _more(studio)
        view = st.segmented_control(
            t("history.view"), VIEWS, key=state.labelled("history_view"), default=studio.settings.ui.history_view, required=True,
            format_func={name: t(f"view.{name}") for name in VIEWS}.get, label_visibility="collapsed",
        )  # fmt: skip
    width, height = parse_size(size)
    if size and width is None:
        custom_components.quiet(t("history.bad_size", value=size))
    since, until = day_range(days, local_zone())
    query = HistoryQuery(
        text=text or "",
        model=model,
        since=since,
        until=until,
        width=width,
        height=height,
        sort=sort,
        descending=not upwards,
        limit=int(studio.settings.ui.history_page_size),
        cursor=state.cursors()[-1],
        **more,
    )
    return query, view


def _more(studio: Studio) -> dict[str, Any]:
    """What is filtered by now and then; by the name of its field in HistoryQuery."""
    place = st.segmented_control(
        t("history.place"), PLACES, key=state.labelled("history_place"), default="all", required=True, on_change=state.first_page,
        format_func={name: t(f"place.{name}") for name in PLACES}.get,
    )  # fmt: skip
    found: dict[str, Any] = {
        "favourite": True if place == "favourites" else None,
        "missing": True if place == "missing" else None,
        "trashed": place == "trash",
    }
    left, right = st.columns(2)
    with left:
        found["tag"] = _choice("tag", studio.history.labels("tag"), free=False)
        found["seed"] = _number("seed")
        found["min_steps"] = _number("min_steps")
        found["min_cfg_scale"] = _number("min_cfg_scale", 0.5)
    with right:
        found["collection"] = _choice("collection", studio.history.labels("collection"), free=False)
        found["format"] = _choice("format", FORMATS, free=False)
        found["max_steps"] = _number("max_steps")
        found["max_cfg_scale"] = _number("max_cfg_scale", 0.5)
    found["min_rating"] = st.select_slider(
        t("history.min_rating"), range(6), key=state.labelled("history_min_rating"), on_change=state.first_page,
        format_func=lambda stars: "★" * stars or t("history.any"),
    ) or None  # fmt: skip
    found["options"] = _options()
    return found


def _options() -> dict[str, Any]:
    """Any advanced options, each at exactly a value."""
    options = {option.key: option for option in SCHEMA.request_options()}
    keys = st.multiselect(
        t("history.options"), list(options), key=state.labelled("history_options"), placeholder=t("history.any"),
        format_func=lambda key: said(options[key].label), on_change=state.first_page,
    )  # fmt: skip
    found = {}
    for key in keys:
        try:
            words = _option_value(options[key])
            found |= {key: options[key].check(words, said(options[key].label))} if words else {}
        except InputError as error:
            custom_components.quiet(error.message(state.language()))
    return found


def _option_value(option: Option) -> str | None:
    label, key = f"{said(option.label)} =", f"history_value_{option.key}"
    choices = {"bool": ("true", "false"), "choice": option.choices}.get(option.type)
    if choices:
        return st.selectbox(
            label, choices, key=key, on_change=state.first_page, index=None, placeholder=t("history.any")
        )
    return st.text_input(label, key=key, on_change=state.first_page, help=said(option.allowed))


def _choice(name: str, known: Sequence[str], free: bool = True) -> str | None:
    """One of the known ones, with `free` any other, too; None: any."""
    return st.selectbox(
        t(f"history.{name}"), list(known), index=None, key=f"history_{name}", placeholder=t("history.any"),
        accept_new_options=free, on_change=state.first_page,
    )  # fmt: skip


def _number(name: str, step: float = 1) -> Any:
    return st.number_input(
        t(f"history.{name}"), min_value=type(step)(0), value=None, step=step, key=f"history_{name}",
        placeholder=t("history.any"), on_change=state.first_page,
    )  # fmt: skip


def _sizes(studio: Studio) -> list[str]:
    """The sizes of the latest images; any other can be typed."""
    recent = studio.history.search(HistoryQuery(limit=60)).records
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
