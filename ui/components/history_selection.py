"""Show what is around the results of the history: places, search and sort, and what can be done with the selected images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from core.server.listing import MAX_WORD, write_query
from core.studio import Studio
from core.types import AnnotationChange, HistoryCounts, HistoryQuery, ImageSelection
from ui.actions import annotate, studio_calls
from ui.actions import input_images as input_actions
from ui.components import custom_components, history_filter, history_import
from ui.components.history_filter import FAVORITES, IMPORTS, MISSING, TRASH
from ui.i18n import t
from ui.state import form as form_state
from ui.state import history as history_state
from ui.state import session
from ui.state import session as page_state

COMPARE_PAGE = "views/image_compare.py"
MOST_COMPARED = 9
MOST_UPSCALED = 100  # images of one click: each is read and stored as an input
NAMES = ("add_tags", "remove_tags", "add_collections", "remove_collections")


def count(studio: Studio) -> int:
    """Return how many images are selected."""
    selected = history_state.selection()
    return studio.history.search(replace(selected, limit=1)).total if isinstance(selected, HistoryQuery) else len(selected)


def render(studio: Studio, query: HistoryQuery, number: int, total: int) -> None:
    """Draw the bar of the selection, in the place of the one with search and filters."""
    selected = history_state.selection()
    with st.container(horizontal=True, vertical_alignment="center", key="selection_bar"):
        st.button(
            t("history.choose_none"), key="choose_none", icon=":material/close:", type="tertiary",
            help=t("history.choose_none"), on_click=history_state.select_images, args=((), True),
        )  # fmt: skip
        st.text(t("history.chosen", count=number, total=total))
        if not isinstance(selected, HistoryQuery):
            choose_all(query)
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
        export(selected if isinstance(selected, HistoryQuery) else replace(query, ids=tuple(selected)))
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


def render_toolbar(studio: Studio) -> None:
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


ALL = "show:"
ICONS = {FAVORITES: "favorite", IMPORTS: "upload_file", MISSING: "broken_image", TRASH: "delete"}


def render_places(counts: HistoryCounts) -> None:
    """Draw the list; a click goes to one place and leaves the other filters as they are."""
    shown, tag, collection = (history_state.history_field(name) for name in history_state.PLACES)
    numbers = {FAVORITES: counts.favourites, IMPORTS: counts.imported, MISSING: counts.missing, TRASH: counts.trash}
    places = [_place(f"show:{name}", t(f"place.{name}"), count, ICONS[name], shown == name) for name, count in numbers.items()]
    everything = _place(ALL, t("place.all"), counts.all, "photo_library", not (shown or tag or collection))
    sections = [
        ("", [everything, places[0]]),
        (t("column.collections"), _labelled("collection", counts.collections, "folder", collection)),
        (t("column.tags"), _labelled("tag", counts.tags, "label", tag)),
        (t("history.others"), places[1:]),
    ]
    words = {"label": t("history.places"), "more": t("history.show_all"), "less": t("history.show_fewer")}
    custom_components.places(sections, words, key="places", on_pick=_go)


def _place(place: str, label: str, count: int, icon: str, is_open: bool) -> dict[str, Any]:
    return {"id": place, "label": label, "count": count, "icon": icon, "open": is_open}


def _labelled(kind: str, counted: Mapping[str, int], icon: str, selected: str) -> list[dict[str, Any]]:
    return [_place(f"{kind}:{name}", name, count, icon, name == selected) for name, count in counted.items()]


def _go(place: str) -> None:
    kind, _, name = place.partition(":")
    history_state.set_history_fields({**dict.fromkeys(history_state.PLACES, ""), kind: name})


NAME, PASSWORD = "hidden_name", "hidden_password"
LOOK_SECONDS = 5.0  # how often an open page looks whether something is locked again


def hidden(studio: Studio) -> None:
    """Draw what is unlocked, with a button that locks it, and the menu."""
    unlocked = studio.collections.unlocked()
    if unlocked:
        st.fragment(_unlocked, run_every=LOOK_SECONDS)(studio, frozenset(unlocked))
    menu = st.popover(t("hidden.menu"), icon=":material/lock:", key="hidden_menu", type="tertiary", on_change="rerun")
    if menu.open:
        with menu:
            _menu(studio, bool(unlocked))


def _unlocked(studio: Studio, drawn: frozenset[str]) -> None:
    """Show what is unlocked and for how long; rerun the page when something was locked."""
    unlocked = studio.collections.unlocked()
    if frozenset(unlocked) != drawn:
        st.rerun()
    for name, seconds in unlocked.items():
        st.text(t("hidden.unlocked", name=name, minutes=math.ceil(seconds / 60)))
    st.button(
        t("hidden.lock"), key="hidden_lock", icon=":material/lock:", width="stretch", on_click=_lock, args=(studio,)
    )


def _lock(studio: Studio) -> None:
    history_state.select_image(None)
    studio_calls.ask(studio.collections.lock)


def _menu(studio: Studio, any_unlocked: bool) -> None:
    st.caption(t("hidden.help", minutes=f"{studio.settings.access.unlock_minutes:g}"))
    st.text_input(t("hidden.name"), key=NAME)
    st.text_input(t("hidden.password"), key=PASSWORD, type="password")
    verbs: dict[str, tuple[str, Callable[[str, str], object]]] = {
        "unlock": ("lock_open", studio.collections.unlock),
        "hide": ("visibility_off", studio.collections.hide),
        "show": ("visibility", studio.collections.show_again),
    }
    for name, (icon, verb) in verbs.items():
        st.button(
            t(f"hidden.{name}"), key=f"hidden_{name}", icon=f":material/{icon}:", width="stretch",
            type="primary" if name == "unlock" and not any_unlocked else "secondary", on_click=_act, args=(verb,),
        )  # fmt: skip


def _act(verb: Callable[[str, str], object]) -> None:
    """Do it with what was typed; the password is not kept."""
    name, password = st.session_state.get(NAME, ""), st.session_state.get(PASSWORD, "")
    studio_calls.ask(verb, name, password)
    st.session_state[PASSWORD] = ""
    if not page_state.errors():
        st.session_state[NAME] = ""
        history_state.select_image(None)
