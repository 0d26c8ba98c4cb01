"""Show the list of places beside the history (images, favorites, collections, tags, imports, trash), and hidden collections."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from core.studio import Studio
from core.types import HistoryCounts
from ui.actions import studio_calls
from ui.components import custom_components
from ui.components.history_filter import FAVORITES, IMPORTS, MISSING, TRASH
from ui.i18n import t
from ui.state import current_page as page_state
from ui.state import history as history_state

ALL = "show:"
ICONS = {FAVORITES: "favorite", IMPORTS: "upload_file", MISSING: "broken_image", TRASH: "delete"}


def draw(counts: HistoryCounts) -> None:
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
