"""A running job: its forming picture, its step, the time that is left, and the button that stops it.

The browser keeps picture, bar and words up to date by itself (see ui.progress_poll); what is here is drawn when the queue changes.
"""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from core.studio import Studio
from core.types import Job, JobState, QueueSnapshot
from ui import actions, formats, progress_poll, state
from ui.components import custom_components, schedule
from ui.i18n import t
from ui.job_words import sentence, title

SAFETY_SECONDS = 10.0  # drawn again after this long anyhow, should the browser have missed that there was reason to
MOST_OTHERS = 20


def live(studio: Studio, job_id: str) -> None:
    """Drawn again when the queue has changed. When the job has ended the whole page is drawn instead."""
    board = studio.queue.snapshot()
    job = next((job for job in board.jobs if job.id == job_id), None) or studio.queue.get(job_id)
    if not job.state.active:
        st.rerun()
    request = job.request
    custom_components.image(
        progress_poll.shown(job)["src"],
        request.prompt,
        (request.width, request.height),
        key="stage_picture",
        forming=job.id,
    )
    with st.container(key="progress", horizontal=True, vertical_alignment="center"):
        custom_components.pulse(progress_poll.mark(board), poll_seconds(studio), key="pulse", job=job)
        if schedule.waits(job):
            st.button(
                t("later.run_now"), key="run_now", type="primary", on_click=schedule.run_now, args=(studio, job.id)
            )
        st.button(
            t("job.cancelling") if job.cancel_requested else t("job.cancel"),
            key="cancel",
            shortcut="Escape",
            disabled=job.cancel_requested,
            on_click=actions.cancel,
            args=(studio, job.id),
        )
    if board.paused and job.state is JobState.QUEUED:
        custom_components.quiet(t("queue.paused"))
        st.button(t("queue.go_on"), key="go_on", on_click=actions.ask, args=(studio.queue.pause, False))
    if job.error:
        custom_components.quiet(job.error.message(state.language()))
    _others(studio, board, job.id)


def others(studio: Studio) -> None:
    """All that is active, where no job is watched; drawn again when the queue has changed, until it is empty."""
    board = studio.queue.snapshot()
    _others(studio, board, None)
    if board.jobs:
        custom_components.pulse(progress_poll.mark(board), poll_seconds(studio), key="pulse")


def first_in_work(jobs: Iterable[Job]) -> Job | None:
    """Of jobs that belong together, the one whose progress tells how they get on; None when all have ended."""
    active = [job for job in jobs if job.state.active]
    return next((job for job in active if job.state is not JobState.QUEUED), active[0] if active else None)


def poll_seconds(studio: Studio) -> float:
    """How often the browser looks."""
    return studio.settings.ui.poll_seconds


def _others(studio: Studio, board: QueueSnapshot, watched: str | None) -> None:
    """Jobs beside the watched one, such as those queued after it, each with its own button to stop it."""
    for job in [job for job in board.jobs if job.id != watched][:MOST_OTHERS]:
        with st.container(horizontal=True, vertical_alignment="center", key=f"other_{job.id}"):
            st.text(title(job.request, 60))
            where(job)
            st.button(t("job.watch"), key=f"watch_{job.id}", on_click=state.watch, args=(job.id,), type="tertiary")
            st.button(
                t("job.cancel"), key=f"stop_{job.id}", on_click=actions.cancel, args=(studio, job.id), type="tertiary"
            )


def where(job: Job) -> None:
    """Where the job is: words that stay up to date while it is in work."""
    if job.state is JobState.QUEUED:
        st.text(sentence(job))
    else:
        custom_components.job_words(job, key=f"where_{job.id}")


def verdict(studio: Studio, job: Job) -> None:
    """Yes or no: do the present settings draw?"""
    if job.state is JobState.DONE and job.image_ids:
        took = sum(studio.history.get(job.image_ids[0]).timings.values())
        st.success(t("check.yes", time=formats.seconds(took)), icon=":material/check_circle:")
    elif job.state is JobState.FAILED:
        st.error(t("check.no"), icon=":material/error:")
