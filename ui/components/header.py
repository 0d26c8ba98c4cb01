"""Show the right end of the top bar: model, device, free memory, and the language switch."""

from __future__ import annotations

import html

import streamlit as st

from core.errors import StudioError
from core.server import LOGOUT
from core.studio import Studio
from ui import formats
from ui.components import custom_components, error_card, help_page
from ui.i18n import t
from ui.state import form as form_state
from ui.state import session

REFRESH_SECONDS = 10


def draw(studio: Studio, title: str, address: str) -> None:
    """Show the bar with the page's title, seen on a phone; below it why no worker comes up, as long as none does."""
    worker = studio.worker.status()
    st.html(f'<h1 class="zd-title">{html.escape(title)}</h1>')
    with st.container(key="topbar", horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
        st.fragment(_machine, run_every=REFRESH_SECONDS)(studio, worker.trouble)
        form_state.give_widget("language_switch", session.language())
        st.segmented_control(
            t("header.language"),
            ("zh", "en"),
            format_func={"zh": "中", "en": "EN"}.__getitem__,
            key="language_switch",
            label_visibility="collapsed",
            required=True,
            on_change=lambda: session.set_language(st.session_state["language_switch"]),
        )
        help_page.button(address)
        if (name := session.user()) is not None:
            _leave(name)
    custom_components.frame(
        f"{title} · {t('app.title')}", t("app.title"), {"done": t("queue.notified"), "count": t("queue.count")},
        queue="queue",
    )  # fmt: skip
    if worker.trouble is not None:
        error_card.draw(worker.trouble, "worker")


def _leave(name: str) -> None:
    """Show a link, as logging out is a page of the gate: this page ends with the session."""
    words = html.escape(t("header.log_out"))
    address = f"{LOGOUT}?lang={session.language()}"
    st.html(f'<a class="zd-leave" href="{address}" target="_self" title="{html.escape(name)}">{words}</a>')


def _machine(studio: Studio, shown: StudioError | None) -> None:
    """Rerun at intervals; the whole page, when what keeps the worker down is not what the page has told."""
    worker = studio.worker.status()
    if str(worker.trouble) != str(shown):
        st.rerun()
    parts = [
        worker.model or t(f"worker.{worker.state}"),
        worker.device,
        t("header.free", size=formats.size_of(studio.system.memory()[1])),
    ]
    words = " · ".join(html.escape(part) for part in parts if part)
    st.html(
        f'<div class="zd-machine" title="{html.escape(t("header.title"))}"><i class="{worker.state}"></i>{words}</div>'
    )
