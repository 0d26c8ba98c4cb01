"""Show the stage: the running job's preview or a finished image, its batch, and the mask of the source image."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import IMAGE, ImageRecord, Job, JobState, QueueSnapshot
from ui import progress_poll
from ui.actions import generate as generate_actions
from ui.actions import studio_calls
from ui.components import (
    before_after,
    custom_components,
    error_card,
    image_card,
    input_card,
    job_status,
    rerun,
    schedule,
    session_strip,
)
from ui.i18n import localized, t
from ui.job_words import title
from ui.state import current_page as page_state
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import input_images as input_state
from ui.state import session

PREVIEW = "preview.enabled"


def draw(studio: Studio, snapshot: QueueSnapshot, mine: session_strip.Session, welcome: Callable[[], None]) -> None:
    """Show the tabs, then the one that is selected, under what went wrong; `welcome` while there is nothing to show."""
    job = _focus(studio, mine)
    image_id = _image(studio, job, mine)
    generate_state.set_stage_image(image_id)
    for number, error in enumerate(page_state.errors()):
        error_card.draw(error, f"asked{number}", on_close=_close_errors)
    edited = _edited(studio, job, image_id)
    tab = _tabs(job, edited is not None)
    if tab == generate_state.MASK:
        input_card.mask(studio, input_state.sources().inputs[IMAGE])
    elif tab == generate_state.BATCH and job is not None:
        custom_components.batch(
            job, job.request.num_images, t("stage.batch"), image_id, key="batch_grid", on_pick=_show_of_batch
        )
    elif tab == generate_state.COMPARE and edited is not None:
        before_after.draw(studio, edited)
        with st.container(key="stage_actions"):
            image_card.buttons(studio, edited)
    elif job is not None and job.state.active and not generate_state.shown_image():
        _forming(job)
    else:
        _finished(studio, job, image_id, mine, welcome)
    if job is not None and job.state.active:
        _progress(studio, snapshot, job)
    elif any(one.state.active for one in snapshot.jobs):
        st.fragment(_watch, run_every=job_status.SAFETY_SECONDS)(studio, progress_poll.mark(snapshot), None)


def viewer_words() -> Mapping[str, str]:
    """Return the labels of the viewer's buttons."""
    return {
        "fit": t("viewer.fit"), "actual": t("viewer.actual"), "in": t("viewer.in"), "out": t("viewer.out"),
        "hint": t("viewer.hint"),
    }  # fmt: skip


def _focus(studio: Studio, mine: session_strip.Session) -> Job | None:
    """Return the job in work, or, while none is, the one that was watched last, or else the next that waits."""
    if mine.running is not None:
        return mine.running
    job_id = generate_state.job_id()
    if job_id:
        try:
            return studio.queue.get(job_id)
        except StudioError as error:
            generate_state.watch(None)
            page_state.set_errors([error])
    return mine.waiting[0] if mine.waiting else None


def _image(studio: Studio, job: Job | None, mine: session_strip.Session) -> str | None:
    if generate_state.shown_image():
        return generate_state.shown_image()
    if job is not None and (job.image_ids or job.state is not JobState.QUEUED):
        return job.image_ids[0] if job.image_ids and not job.state.active else None
    return mine.records[0].id if mine.records else None


def _edited(studio: Studio, job: Job | None, image_id: str | None) -> ImageRecord | None:
    """Return the image on the stage if it was made over a source image."""
    if image_id is None or (job is not None and job.state.active and not generate_state.shown_image()):
        return None
    try:
        record = studio.history.get(image_id)
    except StudioError:  # the stage says so
        return None
    return record if before_after.applies(record) else None


def _tabs(job: Job | None, edited: bool) -> str:
    """Return the name of the tab that is shown: Batch, Mask, and Before / after only while there is one."""
    there = [
        generate_state.RESULT,
        *([generate_state.BATCH] if job is not None and job.request.num_images > 1 else []),
        *([generate_state.MASK] if IMAGE in input_state.sources().inputs else []),
        *([generate_state.COMPARE] if edited else []),
    ]
    present = generate_state.stage_tab() if generate_state.stage_tab() in there else generate_state.RESULT
    pinned = bool(generate_state.shown_image()) and job is not None and job.state.active
    if len(there) == 1 and not pinned:
        return present
    with st.container(horizontal=True, vertical_alignment="center", key="stage_tabs"):
        if len(there) > 1:
            key = session.labelled("stage_tab_select")
            form_state.give_widget(key, present)
            st.segmented_control(
                t("stage.tabs"), there, key=key, required=True, label_visibility="collapsed",
                format_func={name: t(f"stage.{name}") for name in there}.__getitem__,
                on_change=lambda: generate_state.set_stage_tab(st.session_state[key]),
            )  # fmt: skip
        if pinned:
            st.button(
                t("stage.follow"), key="follow", icon=":material/keep_off:", help=t("stage.follow_help"), type="tertiary",
                on_click=generate_state.show_image, args=(None,),
            )  # fmt: skip
    return present


def _forming(job: Job) -> None:
    request = job.request
    custom_components.viewer(
        progress_poll.shown(job)["src"], request.prompt, (request.width, request.height), viewer_words(), key="stage_image",
        forming=job.id,
    )  # fmt: skip


def _progress(studio: Studio, snapshot: QueueSnapshot, job: Job) -> None:
    """Show where the job is, with its bar; the page is rerun when the queue has changed."""
    with st.container(key="progress"):
        if generate_state.shown_image():
            custom_components.quiet(title(job.request, 80))
        st.fragment(_watch, run_every=job_status.SAFETY_SECONDS)(studio, progress_poll.mark(snapshot), job.id)
        if snapshot.paused and job.state is JobState.QUEUED:
            custom_components.quiet(t("queue.paused"))
            st.button(t("queue.go_on"), key="go_on", on_click=studio_calls.ask, args=(studio.queue.pause, False))
        if schedule.waits(job):
            st.button(
                t("later.run_now"), key="run_now", type="primary", on_click=schedule.run_now, args=(studio, job.id)
            )
        if job.error:
            custom_components.quiet(job.error.message(session.language()))


def _watch(studio: Studio, drawn: str, job_id: str | None) -> None:
    """Rerun the whole page once the queue has changed since the page was rendered."""
    snapshot = studio.queue.snapshot()
    if progress_poll.mark(snapshot) != drawn:
        st.rerun()
    job = next((job for job in snapshot.jobs if job.id == job_id), None)
    custom_components.pulse(drawn, job_status.poll_seconds(studio), key="pulse", job=job)
    if job is not None and (why := _no_preview(studio, job)):
        custom_components.quiet(why)


def _no_preview(studio: Studio, job: Job) -> str:
    """Return why the image of a running job is not seen while it forms; "" where it is, or where no preview is asked for."""
    worker = studio.worker.status()
    if job.state is JobState.QUEUED or worker.model != job.request.model or not job.request.options.get(PREVIEW, True):
        return ""
    return next((localized(one.reason) for one in worker.capabilities if one.option == PREVIEW and not one.usable), "")


def _finished(
    studio: Studio, job: Job | None, image_id: str | None, mine: session_strip.Session, welcome: Callable[[], None]
) -> None:
    if job is not None and not generate_state.shown_image():
        _outcome(studio, job)
    if image_id is None:
        if not mine.records and not page_state.errors() and (job is None or not job.state.active):
            welcome()
        return
    try:
        record = studio.history.get(image_id)
    except StudioError as error:
        error_card.draw(error, "stage", on_close=lambda: generate_state.show_image(None))
        return
    _shown(studio, record)


def _shown(studio: Studio, record: ImageRecord) -> None:
    custom_components.viewer(
        custom_components.image_url(record.id), record.request.prompt, (record.width, record.height), viewer_words(),
        key="stage_image",
    )  # fmt: skip
    with st.container(key="stage_actions"):
        image_card.buttons(studio, record)
        image_card.brief(record)


def _outcome(studio: Studio, job: Job) -> None:
    """Show what became of the job, where the image alone does not say it."""
    if generate_actions.is_check(job.request):
        job_status.verdict(studio, job)
    rerun.verdict(studio, job)
    if job.state is JobState.FAILED and job.error:
        error_card.draw(job.error, "job", lambda cure: generate_actions.run_again(studio, job.request, cure))
    elif job.state is JobState.CANCELLED:
        made = len(job.image_ids)
        words = t("job.cancelled_after", made=made, total=job.request.num_images) if made else t("job.cancelled")
        st.info(words, icon=":material/cancel:")


def _show_of_batch(image_id: str) -> None:
    generate_state.show_image(image_id)
    generate_state.set_stage_tab(generate_state.RESULT)


def _close_errors() -> None:
    page_state.set_errors(())
