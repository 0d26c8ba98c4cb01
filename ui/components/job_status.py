"""Show a running job: its preview, step, remaining time, and the cancel button.

The browser keeps image, bar and words up to date by itself (see ui.progress_poll); what is here is rendered when the queue changes.
"""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from core.studio import Studio
from core.types import Job, JobState
from ui import formats
from ui.components import custom_components
from ui.i18n import t
from ui.job_words import sentence

SAFETY_SECONDS = 10.0  # rerun after this long anyhow, in case the browser missed a change


def first_in_work(jobs: Iterable[Job]) -> Job | None:
    """Return the job whose progress represents the group; None when all have ended."""
    active = [job for job in jobs if job.state.active]
    return next((job for job in active if job.state is not JobState.QUEUED), active[0] if active else None)


def poll_seconds(studio: Studio) -> float:
    """Return the poll interval of the browser in seconds."""
    return studio.settings.ui.poll_seconds


def where(job: Job) -> None:
    """Show the state of the job, updated by the browser while it runs."""
    if job.state is JobState.QUEUED:
        st.text(sentence(job))
    else:
        custom_components.job_words(job, key=f"where_{job.id}")


def verdict(studio: Studio, job: Job) -> None:
    """Show whether the present settings work."""
    if job.state is JobState.DONE and job.image_ids:
        took = sum(studio.history.get(job.image_ids[0]).timings.values())
        st.success(t("check.yes", time=formats.seconds(took)), icon=":material/check_circle:")
    elif job.state is JobState.FAILED:
        st.error(t("check.no"), icon=":material/error:")
