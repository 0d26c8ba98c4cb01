"""Show the queue: running jobs, waiting ones, and recent results; cancel, move and retry them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.studio import Studio
from core.types import USER_CLIENT, HistoryQuery, ImageRecord, Job, JobState, QueueSnapshot
from ui import formats, progress_poll, resources
from ui.actions import studio_calls
from ui.components import custom_components, error_card, job_status
from ui.formats import title
from ui.i18n import t
from ui.state import pages as pages_state
from ui.state import session
from ui.state import session as page_state

SHOWN = 15  # rows of a page of each list: each has six buttons, which take the longest to draw
ENDED = 20  # rows of what ended lately
IMAGES = 4  # of each job that ended
RETRY_STATES = (JobState.FAILED, JobState.CANCELLED)


def page() -> None:
    studio = resources.studio()
    for number, error in enumerate(page_state.errors()):
        error_card.render(error, f"queue{number}", on_close=lambda: page_state.set_errors(()))
    st.fragment(_lists, run_every=job_status.SAFETY_SECONDS)(studio)


def _lists(studio: Studio) -> None:
    """Rerun when the queue has changed; the browser keeps the progress of running jobs up to date by itself."""
    snapshot = studio.queue.snapshot()
    ended = [job for job in studio.queue.ended(ENDED) if not pages_state.is_cleared(job)]
    _switches(studio, snapshot, bool(ended))
    if not snapshot.jobs:
        st.info(t("queue.nothing"), icon=":material/done_all:")
    owner = session.owner()
    if owner is None:
        _active(studio, "all", snapshot.total, lambda after: _page_of_all(studio, snapshot, after))
    else:
        mine = studio.queue.count_active(owner)
        _active(studio, "mine", mine, lambda after: studio.queue.active(SHOWN, owner, after))
        _active(
            studio,
            "others",
            snapshot.total - mine,
            lambda after: studio.queue.active(SHOWN, after=after, other_than=owner),
        )
    _ended(studio, ended)
    custom_components.pulse(progress_poll.mark(snapshot), job_status.poll_seconds(studio), key="pulse")


def _switches(studio: Studio, snapshot: QueueSnapshot, any_ended: bool) -> None:
    """Show what acts on the whole queue."""
    owner = session.owner()
    shown = snapshot.jobs if owner is None else studio.queue.active(SHOWN, owner)  # the snapshot has the first of all people
    waiting = any(job.state is JobState.QUEUED and session.is_mine(job) for job in shown)
    with st.container(horizontal=True, vertical_alignment="center", key="queue_switches"):
        st.button(
            t("queue.go_on") if snapshot.paused else t("queue.pause_all"),
            key="pause_all",
            icon=":material/play_arrow:" if snapshot.paused else ":material/pause:",
            type="primary" if snapshot.paused else "secondary",
            disabled=not session.is_admin(),
            help=None if session.is_admin() else t("queue.admins"),
            on_click=studio_calls.ask,
            args=(studio.queue.pause, not snapshot.paused),
        )
        st.button(
            t("queue.clear"),
            key="clear_mine",
            icon=":material/clear_all:",
            disabled=not waiting,
            on_click=studio_calls.ask,
            args=(studio.queue.clear, owner),
        )
        st.button(
            t("queue.clear_ended"), key="clear_ended", icon=":material/done_all:", help=t("queue.clear_ended_help"),
            disabled=not any_ended, on_click=pages_state.clear_ended, args=(datetime.now(UTC),),
        )  # fmt: skip
        job_status.gpu_share_button(studio)
        custom_components.signals(t("queue.sound"), t("queue.notify"), t("queue.denied"), key="signals")
    job_status.notes(studio)
    if snapshot.paused:
        st.text(t("queue.paused"))


def _page_of_all(studio: Studio, snapshot: QueueSnapshot, after: str | None) -> Sequence[Job]:
    return snapshot.jobs[:SHOWN] if after is None else studio.queue.active(SHOWN, after=after)


def _active(studio: Studio, name: str, total: int, read: Callable[[str | None], Sequence[Job]]) -> None:
    """Show a list of running and waiting jobs, a page at a time; nothing where there are none."""
    if not total:
        return
    first, after = pages_state.queue_page(name)
    jobs = read(after)
    if not jobs and after:  # they have ended meanwhile
        pages_state.turn_queue_page(name, 0, None)
        first, jobs = 0, read(None)
    st.subheader(f"{t(f'queue.{name}')} · {total}")
    for job in jobs:
        with st.container(horizontal=True, vertical_alignment="center", key=f"row_{job.id}"):
            _active_row(studio, job)
    if total > SHOWN:
        _pages(name, first, jobs, total)


def _pages(name: str, first: int, jobs: Sequence[Job], total: int) -> None:
    """Previous and next page of a list, and which jobs are shown."""
    last = first + len(jobs)
    with st.container(horizontal=True, vertical_alignment="center", key=f"pages_{name}"):
        st.button(
            t("queue.first"), key=f"first_{name}", icon=":material/first_page:", disabled=first == 0,
            on_click=pages_state.turn_queue_page, args=(name, 0, None),
        )  # fmt: skip
        st.button(
            t("queue.following"), key=f"following_{name}", icon=":material/chevron_right:", disabled=last >= total,
            on_click=pages_state.turn_queue_page, args=(name, last, jobs[-1].id if jobs else None),
        )  # fmt: skip
        st.caption(t("queue.page", first=first + 1, last=last, total=total))


def _ended(studio: Studio, jobs: Sequence[Job]) -> None:
    if not jobs:
        return
    st.subheader(f"{t('queue.ended')} · {len(jobs)}")
    images = _images(studio, jobs)
    for job in jobs:
        with st.container(horizontal=True, vertical_alignment="center", key=f"row_{job.id}"):
            _ended_row(studio, job, images)


def _active_row(studio: Studio, job: Job) -> None:
    if job.state is JobState.QUEUED:
        st.html(f'<p class="zd-place">{job.position or "–"}</p>', width="content")
    with _words(studio, job):
        job_status.where(job)
        if job.error:
            custom_components.quiet(job.error.message(session.language()))
    if job.state is JobState.QUEUED and job.position is not None:
        _button("top", job, "vertical_align_top", _to_front, studio, job)
        _button("up", job, "arrow_upward", studio.queue.move, job.id, job.position - 1)
        _button("down", job, "arrow_downward", studio.queue.move, job.id, job.position + 1)
    if job.state is JobState.QUEUED:
        job_status.button(studio, job)
    if job_status.waits(job) and not job.held:
        _button("now", job, "play_arrow", studio.queue.postpone, job.id, None)
    elif job.held:
        _button("resume", job, "play_arrow", studio.queue.pause_job, job.id, False)
    else:
        _button("hold", job, "pause", studio.queue.pause_job, job.id, True)
    _button("cancel", job, "close", studio.queue.cancel, job.id)


def _to_front(studio: Studio, job: Job) -> None:
    """Move a job as far to the front as its owner may."""
    studio.queue.move(job.id, studio.queue.first_position(job))


def _images(studio: Studio, jobs: Sequence[Job]) -> Mapping[str, ImageRecord]:
    """Return the first images of each job by id, as far as they are in the history still: in the trash is not."""
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
        st.html(job_status.strip(shown, f"+{more}" if more > 0 else ""), width="content")
    with _words(studio, job):
        st.text(_end(job))
    if job.state in RETRY_STATES:
        _button("retry", job, "replay", studio.queue.retry, job.id)


def _end(job: Job) -> str:
    """Return how it ended and why, or when and after how long."""
    words = t(f"queue.{job.state.value}")
    if job.error:
        return t("queue.why", state=words, why=job.error.message(session.language()))
    if job.finished_at is None:
        return words
    took = [formats.seconds((job.finished_at - job.started_at).total_seconds())] if job.started_at else []
    return " · ".join([words, *took, formats.moment(job.finished_at)])


def _words(studio: Studio, job: Job) -> DeltaGenerator:
    """Show the job, and space below it. As text: prompts and errors come from outside."""
    request = job.request
    count = f" × {request.num_images}" if request.num_images > 1 else ""
    text_area = st.container(gap=None, key=f"words_{job.id}")
    name = title(request, 80) if studio.viewer.owns(job.client) else _user(job)
    text_area.text(f"{name} — {request.width}×{request.height}{count}")
    return text_area


def _user(job: Job) -> str:
    """Return what admins see of a job of another user."""
    return t("queue.of_user", name=unquote(job.client.removeprefix(USER_CLIENT)))


def _button(name: str, job: Job, icon: str, verb: Callable[..., object], *arguments: object) -> None:
    st.button(
        t(f"queue.{name}"),
        key=f"{name}_{job.id}",
        icon=f":material/{icon}:",
        help=t(f"queue.{name}"),
        type="tertiary",
        disabled=name == "cancel" and job.cancel_requested,
        on_click=studio_calls.ask,
        args=(verb, *arguments),
    )


page()
