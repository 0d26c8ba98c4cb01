"""Show hidden collections beside the list of places: unlock for some minutes, lock, hide, unhide."""

from __future__ import annotations

import math
from collections.abc import Callable

import streamlit as st

from core.studio import Studio
from ui.actions import studio_calls
from ui.i18n import t
from ui.state import current_page as page_state
from ui.state import history as history_state

NAME, PASSWORD = "hidden_name", "hidden_password"
LOOK_SECONDS = 5.0  # how often an open page looks whether something is locked again


def draw(studio: Studio) -> None:
    """Draw what is unlocked, with a button that locks it, and the menu."""
    unlocked = studio.collections.unlocked()
    if unlocked:
        st.fragment(_unlocked, run_every=LOOK_SECONDS)(studio, frozenset(unlocked))
    menu = st.popover(t("hidden.menu"), icon=":material/lock:", key="hidden_menu", type="tertiary", on_change="rerun")
    if menu.open:
        with menu:
            _menu(studio, bool(unlocked))


def _unlocked(studio: Studio, drawn: frozenset[str]) -> None:
    """Show what is unlocked and for how long; draw the page again when something was locked."""
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
