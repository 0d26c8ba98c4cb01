"""Show the foot of the form, always in view: Generate with the queue count, start time, Cancel, and the cost."""

from __future__ import annotations

import streamlit as st

from core.studio import Studio
from core.types import Job, QueueSnapshot
from ui.actions import generate as generate_actions
from ui.actions import studio_calls
from ui.components import cost, custom_components, schedule
from ui.i18n import t


def draw(studio: Studio, snapshot: QueueSnapshot, running: Job | None) -> None:
    """Show the foot; `running` is the viewer's job that Cancel and Esc end, and Pause and P stop between two steps."""
    count = len(snapshot.jobs)
    if words := cost.words(studio):
        custom_components.quiet(words)
    with st.container(horizontal=True, vertical_alignment="center", key="foot_buttons"):
        st.button(
            t("generate.button_queue", count=count) if count else t("generate.button"),
            key="generate", type="primary", icon=":material/photo_camera:", shortcut="Ctrl+Enter",
            on_click=generate_actions.generate, args=(studio,),
        )  # fmt: skip
        schedule.choice()
        if running is not None:
            st.button(
                t("job.cancelling") if running.cancel_requested else t("job.cancel"),
                key="cancel", shortcut="Escape", disabled=running.cancel_requested,
                on_click=studio_calls.cancel, args=(studio, running.id),
            )  # fmt: skip
            st.button(
                t("job.pause"), key="pause", shortcut="P", help=t("job.pause_help"), icon=":material/pause:",
                on_click=studio_calls.ask, args=(studio.queue.pause_job, running.id, True),
            )  # fmt: skip
