"""Show jobs on any page: their state and thumbnails, when they begin, who uses the GPU, and what follows the queue's end."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlencode

import streamlit as st

from core.i18n import localize
from core.studio import Studio
from core.studio.queue_end import NONE
from core.types import Job, JobState
from ui import formats
from ui.actions import studio_calls
from ui.components import custom_components
from ui.formats import local_zone, sentence
from ui.i18n import localized, t
from ui.state import generate_page as generate_state
from ui.state import session

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


def linked(image_id: str, prompt: str) -> str:
    """Return the thumbnail as a link; the history opens in the viewer's language."""
    place = html.escape("history?" + urlencode({"image": image_id, "lang": session.language()}), quote=True)
    source = html.escape(custom_components.thumbnail_url(image_id), quote=True)
    alt = html.escape(prompt, quote=True)
    return f'<a href="{place}" target="_self"><img src="{source}" alt="{alt}" loading="lazy"></a>'


def strip(images: Sequence[tuple[str, str]], more: str = "") -> str:
    """Return thumbnails side by side, each an id and its prompt; `more` follows them in words."""
    rest = f"<small>{html.escape(more)}</small>" if more else ""
    return f'<div class="zd-strip">{"".join(linked(*image) for image in images)}{rest}</div>'


def gpu_share_button(studio: Studio) -> None:
    """Draw the button that gives the GPU back, or takes it again."""
    given = studio.queue.is_given_back()
    st.button(
        t("gpu.use") if given else t("gpu.give_back"), key="gpu_give_back",
        icon=":material/memory:" if given else ":material/eject:", help=t("gpu.help"), disabled=not session.is_admin(),
        type="primary" if given else "secondary", on_click=studio_calls.ask, args=(studio.queue.give_back, not given),
    )  # fmt: skip


def notes(studio: Studio) -> None:
    """Draw why jobs wait, and which limits can't be read, if there is anything to say."""
    status, given_back = studio.worker.status(), localize("jobs.tenant.given_back")
    if studio.queue.is_given_back():
        st.info(localized(given_back), icon=":material/pause_circle:")
    elif status.yields_to and localized(status.yields_to) != localized(given_back):  # a worker takes a moment to hear of it
        st.info(localized(status.yields_to), icon=":material/pause_circle:")
    if status.unmeasured:
        st.warning(localized(status.unmeasured), icon=":material/warning:")


LOOK_SECONDS = 1.0


def render_countdown(studio: Studio) -> None:
    """Draw the banner while it counts; nothing where the settings ask for neither sleep nor shutdown."""
    if studio.settings.queue_end.power != NONE:
        st.fragment(_banner, run_every=LOOK_SECONDS)(studio)


def _banner(studio: Studio) -> None:
    left = studio.queue_end.countdown.left()
    if left is None:
        return
    action, seconds = left
    text = t("countdown.sleep", seconds=round(seconds)) if action == "sleep" else t("countdown.shutdown", seconds=round(seconds))
    with st.container(horizontal=True, vertical_alignment="center", key="countdown"):
        st.warning(text, icon=":material/power_settings_new:")
        st.button(
            t("countdown.stop"), key="countdown_stop", icon=":material/close:", type="primary",
            on_click=studio_calls.ask, args=(studio.queue_end.countdown.stop,),
        )  # fmt: skip
