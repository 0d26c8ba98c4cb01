"""Show who uses the GPU: why the worker leaves it alone now, what can't be measured, and the button that gives it back."""

from __future__ import annotations

import streamlit as st

from core.i18n import localize
from core.studio import Studio
from ui.actions import studio_calls
from ui.i18n import localized, t
from ui.state import session


def button(studio: Studio) -> None:
    """Draw the button that gives the GPU back, or takes it again."""
    given = studio.queue.is_given_back()
    st.button(
        t("gpu.use") if given else t("gpu.give_back"), key="gpu_give_back",
        icon=":material/memory:" if given else ":material/eject:", help=t("gpu.help"), disabled=not session.is_admin(),
        type="primary" if given else "secondary", on_click=studio_calls.ask, args=(studio.queue.give_back, not given),
    )  # fmt: skip


def notes(studio: Studio) -> None:
    """Draw why jobs wait, and which limits can't be read, if there is anything to say."""
    status, given_back = studio.worker.status(), localize("jobs.tenant.given_back")
    if studio.queue.is_given_back():
        st.info(localized(given_back), icon=":material/pause_circle:")
    elif status.yields_to and localized(status.yields_to) != localized(given_back):  # a worker takes a moment to hear of it
        st.info(localized(status.yields_to), icon=":material/pause_circle:")
    if status.unmeasured:
        st.warning(localized(status.unmeasured), icon=":material/warning:")
