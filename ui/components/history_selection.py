"""What is done with many images: those that were chosen, or all that were found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import streamlit as st

from core.server.listing import MAX_WORD, write_query
from core.studio import Studio
from core.types import AnnotationChange, HistoryQuery, ImageSelection
from ui import actions, state
from ui.components import history_import
from ui.i18n import t

COMPARE_PAGE = "views/image_compare.py"
MOST_COMPARED = 9
NAMES = ("add_tags", "remove_tags", "add_collections", "remove_collections")


def draw(studio: Studio, query: HistoryQuery, total: int) -> None:
    """The number that were found, what can be taken along, and, when some are chosen, what can be done with them."""
    chosen = state.chosen()
    count = studio.history.search(replace(chosen, limit=1)).total if isinstance(chosen, HistoryQuery) else len(chosen)
    with st.container(horizontal=True, vertical_alignment="center", key="selection"):
        st.text(t("history.chosen", count=count, total=total) if count else t("history.found", total=total))
        if count:
            st.button(
                t("history.choose_none"), key="choose_none", icon=":material/close:", type="tertiary",
                on_click=state.choose_images, args=((), True),
            )  # fmt: skip
        elif total:
            st.button(
                t("history.choose_all"), key="choose_all", icon=":material/select_all:", type="tertiary",
                on_click=state.choose_found, args=(_as_of_now(query),),
            )  # fmt: skip
        if not count:
            history_import.button()
        if total:
            _take_along(_asked_for(query, chosen) if count else query)
        if count and query.trashed:
            st.button(
                t("history.restore"), key="restore", icon=":material/restore_from_trash:", type="primary",
                on_click=actions.restore, args=(studio, chosen),
            )  # fmt: skip
        elif count:
            if 2 <= count <= MOST_COMPARED and st.button(
                t("history.compare"), key="compare", type="primary", icon=":material/compare:"
            ):
                ids = studio.history.ids(chosen) if isinstance(chosen, HistoryQuery) else chosen
                state.choose_images(ids, by_page=True)
                st.switch_page(COMPARE_PAGE, query_params={"ids": ",".join(ids)})
            _keep_order(studio, chosen, count)
            st.button(
                t("history.trash"), key="trash_chosen", icon=":material/delete:",
                on_click=actions.trash, args=(studio, chosen),
            )  # fmt: skip
        if query.trashed and total:
            _empty(studio)


def _as_of_now(query: HistoryQuery) -> HistoryQuery:
    """Without its page, and without what will be made from now on: nobody has seen that, and it is not what is meant."""
    now = datetime.now(UTC)
    return replace(query, cursor=None, offset=0, until=min(query.until, now) if query.until else now)


def _asked_for(query: HistoryQuery, chosen: ImageSelection) -> HistoryQuery:
    """What is chosen, as a question."""
    return chosen if isinstance(chosen, HistoryQuery) else replace(query, ids=tuple(chosen))


def _take_along(query: HistoryQuery) -> None:
    """Addresses that send the files while they are made."""
    word = write_query(replace(query, cursor=None, offset=0))
    with st.popover(t("history.export"), icon=":material/download:", key="export"):
        if len(word) > MAX_WORD:
            st.text(t("history.too_many"))
            return
        for kind in ("csv", "parquet", "zip"):
            st.link_button(t(f"export.{kind}"), f"/api/exports/{kind}?query={word}", width="stretch")


def _keep_order(studio: Studio, chosen: ImageSelection, count: int) -> None:
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
            t("column.favourite"), (True, False), key=state.labelled("set_favourite"),
            format_func={True: t("history.favourite_yes"), False: t("history.favourite_no")}.get,
        )  # fmt: skip
        st.button(
            t("history.apply", count=count), key="apply_order", type="primary", on_click=_apply, args=(studio, chosen)
        )


def _stars() -> str:
    return f"rate_{state.selection_version()}"


def _apply(studio: Studio, chosen: ImageSelection) -> None:
    """By what the fields say at the click, which may come before the page has been rendered with their last change."""
    said = st.session_state
    stars = said.get(_stars())
    change = AnnotationChange(
        rating=None if stars is None else stars + 1,
        favourite=said.get("set_favourite"),
        **{name: tuple(said.get(name) or ()) for name in NAMES},
    )
    actions.mark(studio, chosen, change)


def _empty(studio: Studio) -> None:
    """All that is in the trash, also what the filters do not show: the number says so."""
    total = studio.history.search(HistoryQuery(trashed=True, limit=1)).total
    with st.popover(t("history.empty_trash"), icon=":material/delete_forever:", key="empty_trash"):
        st.text(t("history.empty_text", total=total))
        st.button(
            t("history.delete_now"), key="empty_now", type="primary", on_click=actions.empty_trash, args=(studio,)
        )
