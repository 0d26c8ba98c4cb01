"""The large picture and all that is said about it: how it forms, what came out, what can be done with it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import HistoryQuery, ImageRecord, Job, JobState
from ui import actions, state
from ui.components import custom_components, error_card, image_card, job_status, rerun
from ui.i18n import t

STRIP_LENGTH = 24


def draw(studio: Studio, welcome: Callable[[], None]) -> None:
    """The watched job while it runs, else its picture, else the latest one; `welcome` when there is none at all."""
    for number, error in enumerate(state.errors()):
        error_card.draw(error, f"asked{number}")
    job = _watched(studio)
    latest = studio.history.search(HistoryQuery(limit=STRIP_LENGTH)).records
    if job and job.state.active and not state.shown_image():
        st.fragment(job_status.live, run_every=job_status.SAFETY_SECONDS)(studio, job.id)
    else:
        _finished(studio, job, latest, welcome)
        st.fragment(job_status.others)(studio)
    if latest:
        custom_components.gallery(
            latest, t("generate.strip"), state.show_image, key="strip", layout="strip", selected=_on_stage(job)
        )


def _watched(studio: Studio) -> Job | None:
    job_id = state.job_id()
    if not job_id:
        return None
    try:
        return studio.queue.get(job_id)
    except StudioError as error:
        state.watch(None)
        state.set_errors([error])
        return None


def _finished(studio: Studio, job: Job | None, latest: tuple[ImageRecord, ...], welcome: Callable[[], None]) -> None:
    if job and not state.shown_image():
        _outcome(studio, job)
    image_id = _on_stage(job)
    if image_id is None and job is None and latest:
        image_id = latest[0].id
    if image_id is None:
        if not latest and not state.errors():
            welcome()
        return
    try:
        record = studio.history.get(image_id)
    except StudioError as error:
        error_card.draw(error, "stage")
        return
    image_card.large(record)
    image_card.facts(record)
    image_card.buttons(studio, record)


def _on_stage(job: Job | None) -> str | None:
    return state.shown_image() or (job.image_ids[0] if job and job.image_ids else None)


def _outcome(studio: Studio, job: Job) -> None:
    """What became of the job, where the picture alone does not say it."""
    if actions.is_check(job.request):
        job_status.verdict(studio, job)
    rerun.verdict(studio, job)
    if job.state is JobState.FAILED and job.error:
        error_card.draw(job.error, "job", lambda cure: actions.run_again(studio, job.request, cure))
    elif job.state is JobState.CANCELLED:
        st.info(t("job.cancelled"), icon=":material/cancel:")
