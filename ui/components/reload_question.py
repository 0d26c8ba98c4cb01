"""Ask once for each change that makes the worker load the model again, with how long that took last time."""

from __future__ import annotations

import streamlit as st

from core.config.options import SCHEMA
from core.studio import Studio
from ui import formats
from ui.actions import generate as generate_actions
from ui.i18n import localized, t
from ui.state import generate_page as generate_state


def draw(studio: Studio) -> None:
    """Show the question with its two answers, while it waits for one."""
    present = generate_state.reload_question()
    if not present:
        return
    seconds = studio.worker.status().load_seconds
    names = ", ".join(localized(SCHEMA.options[key].label) for key in present)
    words = t("reload.timed", names=names, time=formats.seconds(seconds)) if seconds else t("reload.plain", names=names)
    with st.container(border=True, key="reload_question"):
        st.text(words)
        with st.container(horizontal=True):
            st.button(t("reload.go"), key="reload_go", type="primary", on_click=generate_actions.reload_now, args=(studio,))
            st.button(t("reload.keep"), key="reload_keep", on_click=generate_actions.keep_loaded, args=(present,))
