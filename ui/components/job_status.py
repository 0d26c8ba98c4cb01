"""A running job: its forming picture, its step, the time that is left, and the button that stops it.

What this module does not know: what happens when it ends; the page is drawn again then.
"""

from __future__ import annotations

import streamlit as st

from core.studio import Studio
from core.types import GenerationRequest, Job, JobState, Phase, Progress
from ui import actions, formats, state
from ui.components import elements, later
from ui.i18n import t


def live(studio: Studio, job_id: str) -> None:
    """Drawn again every few tenths of a second. When the job has ended the whole page is drawn instead."""
    job = studio.job(job_id)
    if not job.state.active:
        st.rerun()
    request, progress = job.request, job.progress
    stepping = progress is not None and progress.phase in (Phase.STEPS, Phase.DECODE, Phase.SAVE)
    src = elements.preview_url(job.id, f"{progress.image}.{progress.step}") if progress and stepping else ""
    elements.picture(src, request.prompt, (request.width, request.height), key="stage_picture", forming=True)
    with st.container(key="progress", horizontal=True, vertical_alignment="center"):
        st.progress(progress.fraction if progress else 0.0, text=sentence(job))
        if later.waits(job):
            st.button(t("later.run_now"), key="run_now", type="primary", on_click=later.run_now, args=(studio, job.id))
        st.button(
            t("job.cancelling") if job.cancel_requested else t("job.cancel"),
            key="cancel",
            shortcut="Escape",
            disabled=job.cancel_requested,
            on_click=actions.cancel,
            args=(studio, job.id),
        )
    if job.error:
        elements.quiet(job.error.message(state.language()))
    others(studio, job.id)


def sentence(job: Job) -> str:
    """Where the job is, in words."""
    progress = job.progress
    if job.held:
        return t("job.held")
    if job.state is JobState.QUEUED and job.position is None and job.not_before:
        return t("job.later", when=formats.moment(job.not_before))
    if job.state is JobState.QUEUED or progress is None:
        before = (job.position or 1) - 1
        return t("job.queued", count=before) if before > 0 else t("job.starting")
    words = [_phase(progress)]
    if progress.images > 1:
        words.append(t("job.image", image=progress.image, images=progress.images))
    if progress.detail:
        words.append(progress.detail)
    if progress.phase is Phase.STEPS and (progress.eta_seconds or 0) >= 0.1:
        words.append(t("job.left", time=formats.seconds(progress.eta_seconds)))
    return " · ".join(words)


def title(request: GenerationRequest, length: int) -> str:
    """What a job draws, in one line: its prompt, of a batch the first one and how many more there are."""
    words = " ".join(request.prompt.split())[:length]
    more = len({own.get("prompt", request.prompt) for own in request.pictures} - {request.prompt})
    return t("batch.words", prompt=words, more=more) if more else words


def _phase(progress: Progress) -> str:
    if progress.phase is Phase.STEPS:
        return t("job.step", step=progress.step, steps=progress.steps)
    return t(f"phase.{progress.phase.value}")


def others(studio: Studio, watched: str | None) -> None:
    """Jobs beside the watched one, such as those queued after it, each with its own button to stop it."""
    running = [job for job in studio.active_jobs(20) if job.id != watched]
    for job in running:
        with st.container(horizontal=True, vertical_alignment="center", key=f"other_{job.id}"):
            st.text(f"{sentence(job)} — {title(job.request, 60)}")
            st.button(t("job.watch"), key=f"watch_{job.id}", on_click=state.watch, args=(job.id,), type="tertiary")
            st.button(
                t("job.cancel"), key=f"stop_{job.id}", on_click=actions.cancel, args=(studio, job.id), type="tertiary"
            )


def verdict(studio: Studio, job: Job) -> None:
    """Yes or no: do the present settings draw?"""
    if job.state is JobState.DONE and job.image_ids:
        took = sum(studio.image(job.image_ids[0]).timings.values())
        st.success(t("check.yes", time=formats.seconds(took)), icon=":material/check_circle:")
    elif job.state is JobState.FAILED:
        st.error(t("check.no"), icon=":material/error:")
