"""Select when a job begins: at once, when it is resumed, or at a time of the viewer's own clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from core.studio import Studio
from core.types import Job, JobState
from ui import actions, state
from ui.i18n import t
from ui.timezone import local_zone


def choice() -> None:
    """Show when the next job runs: now, on hold or at a time. It applies to that job only."""
    state.keep_when()
    with st.popover(t(f"later.{state.when()}"), icon=":material/schedule:", key="later", type="tertiary"):
        st.segmented_control(
            t("later.title"),
            state.WHENS,
            format_func=lambda name: t(f"later.{name}"),
            required=True,
            key=state.labelled(state.WHEN),
        )
        if state.when() == state.AT_TIME:
            st.datetime_input(t("later.until"), _soon(), key=state.UNTIL)
        elif state.when() == state.HELD:
            st.caption(t("later.held_help"))


def button(studio: Studio, job: Job) -> None:
    """Show, in a row of the queue, when a job starts, to be changed. Its content is rendered only while it is open."""
    panel = st.popover(
        t("later.title"), icon=":material/schedule:", key=f"later_{job.id}", type="tertiary", help=t("later.title"),
        on_change="rerun",
    )  # fmt: skip
    if not panel.open:
        return
    with panel:
        until = st.datetime_input(t("later.until"), _soon(), key=f"until_{job.id}")
        st.button(
            t("later.wait"), key=f"wait_{job.id}", type="primary", on_click=actions.ask,
            args=(studio.queue.postpone, job.id, until.replace(tzinfo=local_zone())),
        )  # fmt: skip


def waits(job: Job) -> bool:
    """Return True if only its user or the clock keeps the job from running."""
    return job.state is JobState.QUEUED and (job.held or (job.not_before is not None and job.position is None))


def run_now(studio: Studio, job_id: str) -> None:
    """Let a job that was put off have its turn."""
    actions.ask(studio.queue.pause_job, job_id, False)
    actions.ask(studio.queue.postpone, job_id, None)


def _soon() -> datetime:
    """Return the next full hour but one, as the viewer's clock shows it."""
    now = datetime.now(local_zone()).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    return now + timedelta(hours=2)
