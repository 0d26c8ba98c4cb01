"""Show the countdown to sleep or shutdown after the queue became empty, on every page, with the button that stops it."""

from __future__ import annotations

import streamlit as st

from core.studio import Studio
from core.studio.queue_end import NONE
from ui.actions import studio_calls
from ui.i18n import t

LOOK_SECONDS = 1.0


def draw(studio: Studio) -> None:
    """Draw the banner while it counts; nothing where the settings ask for neither sleep nor shutdown."""
    if studio.settings.queue_end.power != NONE:
        st.fragment(_banner, run_every=LOOK_SECONDS)(studio)


def _banner(studio: Studio) -> None:
    left = studio.queue_end.countdown.left()
    if left is None:
        return
    action, seconds = left
    text = t("countdown.sleep", seconds=round(seconds)) if action == "sleep" else t("countdown.shutdown", seconds=round(seconds))
    with st.container(horizontal=True, vertical_alignment="center", key="countdown"):
        st.warning(text, icon=":material/power_settings_new:")
        st.button(
            t("countdown.stop"), key="countdown_stop", icon=":material/close:", type="primary",
            on_click=studio_calls.ask, args=(studio.queue_end.countdown.stop,),
        )  # fmt: skip
