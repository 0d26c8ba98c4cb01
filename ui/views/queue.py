"""Everything that runs and waits, one's own first, and what ended lately; all of it can be stopped, moved and retried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.studio import Studio
from core.types import HistoryQuery, ImageRecord, Job, JobState
from ui import actions, formats, progress_poll, resources, state
from ui.components import custom_components, error_card, job_status, schedule, thumbnails
from ui.i18n import t
from ui.job_words import title

SHOWN = 40  # rows of each list: nobody reads more, and each has six buttons
ENDED = 10  # rows of what ended lately
IMAGES = 4  # of each job that ended
RETRY_STATES = (JobState.FAILED, JobState.CANCELLED)


def page() -> None:
    studio = resources.studio()
    for number, error in enumerate(state.errors()):
        error_card.draw(error, f"queue{number}")
    st.fragment(_lists, run_every=job_status.SAFETY_SECONDS)(studio)


def _lists(studio: Studio) -> None:
    """Rerun when the queue has changed; the browser keeps the progress of running jobs up to date by itself."""
    board = studio.queue.snapshot()
    active = board.jobs
    mine = [job for job in active if job.client == state.client()]
    others = [job for job in active if job.client != state.client()]
    _switches(studio, mine, board.paused)
    if not active:
        st.info(t("queue.nothing"), icon=":material/done_all:")
    _list(t("queue.mine"), mine, lambda job: _active_row(studio, job))
    _list(t("queue.others"), others, lambda job: _active_row(studio, job))
    ended = [job for job in studio.queue.recent(SHOWN) if not job.state.active][:ENDED]
    images = _images(studio, ended)
    _list(t("queue.ended"), ended, lambda job: _ended_row(studio, job, images))
    custom_components.pulse(progress_poll.mark(board), job_status.poll_seconds(studio), key="pulse")


def _switches(studio: Studio, mine: Sequence[Job], paused: bool) -> None:
    """What acts on the whole queue."""
    waiting = [job for job in mine if job.state is JobState.QUEUED]
    with st.container(horizontal=True, vertical_alignment="center", key="queue_switches"):
        st.button(
            t("queue.go_on") if paused else t("queue.pause_all"),
            key="pause_all",
            icon=":material/play_arrow:" if paused else ":material/pause:",
            type="primary" if paused else "secondary",
            on_click=actions.ask,
            args=(studio.queue.pause, not paused),
        )
        st.button(
            t("queue.clear", count=len(waiting)),
            key="clear_mine",
            icon=":material/clear_all:",
            disabled=not waiting,
            on_click=actions.ask,
            args=(studio.queue.clear, state.client()),
        )
        if paused:
            st.text(t("queue.paused"))


def _list(title: str, jobs: Sequence[Job], row: Callable[[Job], None]) -> None:
    if not jobs:
        return
    st.subheader(f"{title} · {len(jobs)}")
    for job in jobs[:SHOWN]:
        with st.container(horizontal=True, vertical_alignment="center", key=f"row_{job.id}"):
            row(job)
    if len(jobs) > SHOWN:
        st.caption(t("queue.more", count=len(jobs) - SHOWN))


def _active_row(studio: Studio, job: Job) -> None:
    with _words(job):
        job_status.where(job)
        if job.error:
            custom_components.quiet(job.error.message(state.language()))
    if job.state is JobState.QUEUED and job.position is not None:
        _button("top", job, "vertical_align_top", studio.queue.move, job.id, 1)
        _button("up", job, "arrow_upward", studio.queue.move, job.id, job.position - 1)
        _button("down", job, "arrow_downward", studio.queue.move, job.id, job.position + 1)
    if job.state is JobState.QUEUED:
        schedule.button(studio, job)
    if schedule.waits(job) and not job.held:
        _button("now", job, "play_arrow", studio.queue.postpone, job.id, None)
    elif job.held:
        _button("resume", job, "play_arrow", studio.queue.pause_job, job.id, False)
    else:
        _button("hold", job, "pause", studio.queue.pause_job, job.id, True)
    _button("cancel", job, "close", studio.queue.cancel, job.id)


def _images(studio: Studio, jobs: Sequence[Job]) -> Mapping[str, ImageRecord]:
    """The first images of each job by id, as far as they are in the history still: in the trash is not."""
    ids = tuple(image_id for job in jobs for image_id in job.image_ids[:IMAGES])
    return (
        {record.id: record for record in studio.history.search(HistoryQuery(ids=ids, limit=len(ids))).records}
        if ids
        else {}
    )


def _ended_row(studio: Studio, job: Job, images: Mapping[str, ImageRecord]) -> None:
    shown = [(one, images[one].request.prompt) for one in job.image_ids[:IMAGES] if one in images]
    if shown:
        more = len(job.image_ids) - IMAGES
        st.html(thumbnails.strip(shown, f"+{more}" if more > 0 else ""), width="content")
    with _words(job):
        st.text(_end(job))
    if job.state in RETRY_STATES:
        _button("retry", job, "replay", studio.queue.retry, job.id)


def _end(job: Job) -> str:
    """How it ended and why, or when and after how long."""
    words = t(f"queue.{job.state.value}")
    if job.error:
        return t("queue.why", state=words, why=job.error.message(state.language()))
    if job.finished_at is None:
        return words
    took = [formats.seconds((job.finished_at - job.started_at).total_seconds())] if job.started_at else []
    return " · ".join([words, *took, formats.moment(job.finished_at)])


def _words(job: Job) -> DeltaGenerator:
    """Show the job, and space below it. As text: prompts and errors come from outside."""
    request = job.request
    count = f" × {request.num_images}" if request.num_images > 1 else ""
    room = st.container(width="content", gap=None, key=f"words_{job.id}")
    room.text(f"{title(request, 80)} — {request.width}×{request.height}{count}")
    return room


def _button(name: str, job: Job, icon: str, verb: Callable[..., object], *arguments: object) -> None:
    st.button(
        "",
        key=f"{name}_{job.id}",
        icon=f":material/{icon}:",
        help=t(f"queue.{name}"),
        type="tertiary",
        disabled=name == "cancel" and job.cancel_requested,
        on_click=actions.ask,
        args=(verb, *arguments),
    )


page()
