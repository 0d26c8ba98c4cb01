"""Who uses the GPU: why the worker leaves it alone at the moment, and the button that gives it back at once."""

from __future__ import annotations

import streamlit as st

from core.studio import Studio
from ui import actions, state
from ui.i18n import said, t


def draw(studio: Studio) -> None:
    """Draw the reason, if there is one, and the button."""
    reason, given = studio.worker.status().yields_to, studio.queue.is_given_back()
    if reason:
        st.info(said(reason), icon=":material/pause_circle:")
    st.button(
        t("gpu.use") if given else t("gpu.give_back"), key="gpu_give_back",
        icon=":material/memory:" if given else ":material/eject:", help=t("gpu.help"), disabled=not state.is_admin(),
        type="primary" if given else "secondary", on_click=actions.ask, args=(studio.queue.give_back, not given),
    )  # fmt: skip
