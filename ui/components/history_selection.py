"""Act on many images, selected one by one or all that were found, and on the trash as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from core.studio import Studio
from core.types import AnnotationChange, HistoryQuery, ImageSelection
from ui.actions import annotate
from ui.actions import input_images as input_actions
from ui.components import history_toolbar
from ui.i18n import t
from ui.state import history as history_state
from ui.state import session

COMPARE_PAGE = "views/image_compare.py"
MOST_COMPARED = 9
MOST_UPSCALED = 100  # images of one click: each is read and stored as an input
NAMES = ("add_tags", "remove_tags", "add_collections", "remove_collections")


def count(studio: Studio) -> int:
    """Return how many images are selected."""
    selected = history_state.selection()
    return studio.history.search(replace(selected, limit=1)).total if isinstance(selected, HistoryQuery) else len(selected)


def draw(studio: Studio, query: HistoryQuery, number: int, total: int) -> None:
    """Draw the bar of the selection, in the place of the one with search and filters."""
    selected = history_state.selection()
    with st.container(horizontal=True, vertical_alignment="center", key="selection_bar"):
        st.button(
            t("history.choose_none"), key="choose_none", icon=":material/close:", type="tertiary",
            help=t("history.choose_none"), on_click=history_state.select_images, args=((), True),
        )  # fmt: skip
        st.text(t("history.chosen", count=number, total=total))
        if not isinstance(selected, HistoryQuery):
            history_toolbar.choose_all(query)
        if query.trashed:
            st.button(
                t("history.restore"), key="restore", icon=":material/restore_from_trash:", type="primary",
                on_click=annotate.restore, args=(studio, selected),
            )  # fmt: skip
        else:
            _annotate(studio, selected, number)
            if 2 <= number <= MOST_COMPARED and st.button(t("history.compare"), key="compare", icon=":material/compare:"):
                ids = studio.history.ids(selected) if isinstance(selected, HistoryQuery) else selected
                history_state.select_images(ids, by_page=True)
                st.switch_page(COMPARE_PAGE, query_params={"ids": ",".join(ids)})
        if not query.trashed and number <= MOST_UPSCALED:
            st.button(
                t("history.upscale"), key="upscale_chosen", icon=":material/zoom_out_map:", help=t("history.upscale_help"),
                on_click=input_actions.upscale_all, args=(studio, selected),
            )  # fmt: skip
        history_toolbar.export(selected if isinstance(selected, HistoryQuery) else replace(query, ids=tuple(selected)))
        if not query.trashed:
            st.button(
                t("history.trash"), key="trash_chosen", icon=":material/delete:", on_click=annotate.trash,
                args=(studio, selected),
            )  # fmt: skip


def _annotate(studio: Studio, selected: ImageSelection, number: int) -> None:
    st.button(
        t("column.favourite"), key="favourite_chosen", icon=":material/favorite:", on_click=annotate.favourite,
        args=(studio, selected),
    )  # fmt: skip
    with st.popover(t("history.order"), icon=":material/label:", key="keep_order"):
        hint = t("history.names_hint")
        st.feedback("stars", key=_stars())
        for name, known, free in (
            ("add_tags", studio.history.labels("tag"), True),
            ("remove_tags", studio.history.labels("tag"), False),
            ("add_collections", studio.history.labels("collection"), True),
            ("remove_collections", studio.history.labels("collection"), False),
        ):
            st.multiselect(t(f"history.{name}"), known, accept_new_options=free, key=name, placeholder=hint)
        st.segmented_control(
            t("column.favourite"), (True, False), key=session.labelled("set_favourite"),
            format_func={True: t("history.favourite_yes"), False: t("history.favourite_no")}.__getitem__,
        )  # fmt: skip
        st.button(
            t("history.apply", count=number), key="apply_order", type="primary", on_click=_apply, args=(studio, selected)
        )


def _stars() -> str:
    return f"rate_{history_state.selection_version()}"


def _apply(studio: Studio, selected: ImageSelection) -> None:
    """By what the fields say at the click, which may come before the page has been drawn with their last change."""
    given = st.session_state
    stars = given.get(_stars())
    names: dict[str, Any] = {name: tuple(given.get(name) or ()) for name in NAMES}
    change = AnnotationChange(
        rating=None if stars is None else stars + 1, favourite=given.get("set_favourite"), **names
    )
    annotate.mark(studio, selected, change)


def trash_banner(studio: Studio, total: int) -> None:
    """Say what the trash is and offer to empty it: all that is in it, also what the filters do not show."""
    with st.container(horizontal=True, vertical_alignment="center", key="trash_banner"):
        st.text(t("history.trash_text"))
        with st.popover(t("history.empty_trash"), icon=":material/delete_forever:", key="empty_trash", disabled=not total):
            st.text(t("history.empty_text", total=total))
            st.button(
                t("history.delete_now"), key="empty_now", type="primary", on_click=annotate.empty_trash, args=(studio,)
            )
