"""Show what went wrong lately, each with a button that puts it right."""

from __future__ import annotations

import streamlit as st

from core.studio import Studio
from core.studio.diagnostics import Issue
from ui import formats
from ui.actions import generate as generate_actions
from ui.components import error_card
from ui.i18n import t
from ui.state import session


def draw(studio: Studio) -> None:
    """Show a card for each fault; one line when there is none."""
    found = studio.system.faults()
    if not found:
        st.success(t("fault.none"), icon=":material/health_and_safety:")
        return
    for fault in found:
        _card(studio, fault)


def _card(studio: Studio, fault: Issue) -> None:
    with st.container(border=True, key=f"fault_{fault.kind}"):
        words = t(f"fault.{fault.kind}_text", **fault.found)
        if fault.error is not None:
            words = f"{words} {fault.error.message(session.language())}"
        error_card.block(t(f"fault.{fault.kind}"), words)
        cure = ", ".join(f"{key.removeprefix('generation.')} = {formats.plain(v)}" for key, v in fault.cure.items())
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                t("error.cure" if fault.request else "fault.set", what=cure),
                key=f"cure_{fault.kind}",
                type="primary",
                icon=":material/healing:",
                on_click=generate_actions.cure,
                args=(studio, fault),
            )
