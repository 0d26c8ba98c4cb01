"""Select when a job begins: at once, when it is resumed, or at a time of the viewer's own clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from core.studio import Studio
from core.types import Job, JobState
from ui.actions import studio_calls
from ui.i18n import t
from ui.state import generate_page as generate_state
from ui.state import session
from ui.timezone import local_zone


def choice() -> None:
    """Show when the next job runs: now, on hold or at a time. It applies to that job only."""
    generate_state.keep_when()
    with st.popover(t(f"later.{generate_state.when()}"), icon=":material/schedule:", key="later", type="tertiary"):
        st.segmented_control(
            t("later.title"),
            generate_state.WHENS,
            format_func=lambda name: t(f"later.{name}"),
            required=True,
            key=session.labelled(generate_state.WHEN),
        )
        if generate_state.when() == generate_state.AT_TIME:
            st.datetime_input(t("later.until"), _soon(), key=generate_state.UNTIL)
        elif generate_state.when() == generate_state.HELD:
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
            t("later.wait"), key=f"wait_{job.id}", type="primary", on_click=studio_calls.ask,
            args=(studio.queue.postpone, job.id, until.replace(tzinfo=local_zone())),
        )  # fmt: skip


def waits(job: Job) -> bool:
    """Return True if only its user or the clock keeps the job from running."""
    return job.state is JobState.QUEUED and (job.held or (job.not_before is not None and job.position is None))


def run_now(studio: Studio, job_id: str) -> None:
    """Let a job that was put off have its turn."""
    studio_calls.ask(studio.queue.pause_job, job_id, False)
    studio_calls.ask(studio.queue.postpone, job_id, None)


def _soon() -> datetime:
    """Return the next full hour but one, as the viewer's clock shows it."""
    now = datetime.now(local_zone()).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    return now + timedelta(hours=2)
