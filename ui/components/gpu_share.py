"""Who uses the GPU: why the worker leaves it alone now, what can't be measured, and the button that gives it back."""

from __future__ import annotations

import streamlit as st

from core.studio import Studio
from ui import actions, state
from ui.i18n import said, t


def draw(studio: Studio) -> None:
    """Draw what there is to say, and the button."""
    status, given = studio.worker.status(), studio.queue.is_given_back()
    if status.yields_to:
        st.info(said(status.yields_to), icon=":material/pause_circle:")
    if status.unmeasured:
        st.warning(said(status.unmeasured), icon=":material/warning:")
    st.button(
        t("gpu.use") if given else t("gpu.give_back"), key="gpu_give_back",
        icon=":material/memory:" if given else ":material/eject:", help=t("gpu.help"), disabled=not state.is_admin(),
        type="primary" if given else "secondary", on_click=actions.ask, args=(studio.queue.give_back, not given),
    )  # fmt: skip
