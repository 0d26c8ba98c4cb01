"""Show the result: the job that is watched, the image on the stage with what it was made from, and the session's strip."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from core.config.options import SCHEMA
from core.errors import StudioError
from core.studio import Studio
from core.types import IMAGE, HistoryQuery, ImageRecord, Job, JobState, QueueSnapshot
from ui import progress_poll
from ui.actions import generate as generate_actions
from ui.actions import studio_calls
from ui.components import custom_components, error_card, image_card, input_card, job_status, rerun
from ui.formats import title
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import history as history_state
from ui.state import input_images as input_state
from ui.state import session
from ui.state import session as page_state

PREVIEW = "preview.enabled"


def render(studio: Studio, snapshot: QueueSnapshot, mine: Session, welcome: Callable[[], None]) -> None:
    """Show the tabs, then the one that is selected, under what went wrong; `welcome` while there is nothing to show."""
    job = _focus(studio, mine)
    image_id = _image(studio, job, mine)
    generate_state.set_stage_image(image_id)
    for number, error in enumerate(page_state.errors()):
        error_card.render(error, f"asked{number}", on_close=_close_errors)
    following = job is not None and job.state.active and not generate_state.shown_image()
    record = None if image_id is None or following else _record(studio, image_id)
    edited = record if isinstance(record, ImageRecord) and applies(record) else None
    tab = _tabs(job, edited is not None)
    if tab == generate_state.MASK:
        input_card.mask(studio, input_state.sources().inputs[IMAGE])
    elif tab == generate_state.BATCH and job is not None:
        custom_components.batch(
            job, job.request.num_images, t("stage.batch"), image_id, key="batch_grid", on_pick=_show_of_batch
        )
    elif tab == generate_state.COMPARE and edited is not None:
        render_before_after(studio, edited)
        with st.container(key="stage_actions"):
            image_card.buttons(studio, edited)
    elif job is not None and following:
        _forming(job)
    else:
        _finished(studio, job, record, mine, welcome)
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


def _focus(studio: Studio, mine: Session) -> Job | None:
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


def _image(studio: Studio, job: Job | None, mine: Session) -> str | None:
    if generate_state.shown_image():
        return generate_state.shown_image()
    if job is not None and (job.image_ids or job.state is not JobState.QUEUED):
        return job.image_ids[0] if job.image_ids and not job.state.active else None
    return mine.records[0].id if mine.records else None


def _record(studio: Studio, image_id: str) -> ImageRecord | StudioError:
    """Return the record of the image on the stage, or why it can't be read."""
    try:
        return studio.history.get(image_id)
    except StudioError as error:
        return error


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
        if job_status.waits(job):
            st.button(
                t("later.run_now"), key="run_now", type="primary", on_click=job_status.run_now, args=(studio, job.id)
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
    studio: Studio, job: Job | None, record: ImageRecord | StudioError | None, mine: Session, welcome: Callable[[], None]
) -> None:
    if job is not None and not generate_state.shown_image():
        _outcome(studio, job)
    if isinstance(record, ImageRecord):
        _shown(studio, record)
    elif record is not None:
        error_card.render(record, "stage", on_close=lambda: generate_state.show_image(None))
    elif not mine.records and not page_state.errors() and (job is None or not job.state.active):
        welcome()


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
        error_card.render(job.error, "job", lambda cure: generate_actions.run_again(studio, job.request, cure))
    elif job.state is JobState.CANCELLED:
        made = len(job.image_ids)
        words = t("job.cancelled_after", made=made, total=job.request.num_images) if made else t("job.cancelled")
        st.info(words, icon=":material/cancel:")


def _show_of_batch(image_id: str) -> None:
    generate_state.show_image(image_id)
    generate_state.set_stage_tab(generate_state.RESULT)


def _close_errors() -> None:
    page_state.set_errors(())


def applies(record: ImageRecord) -> bool:
    """Return True for an image made over a source image whose frame it keeps: nothing was added around it."""
    added = (key for key in record.request.options if key.startswith("outpaint."))
    neutral = all(record.request.options[key] == SCHEMA.options[key].default for key in added)
    return IMAGE in record.request.inputs and neutral


def render_before_after(studio: Studio, record: ImageRecord) -> None:
    """Show the divider over the two images, then the chain; a click on an image of it shows that one."""
    source = custom_components.input_url(record.request.inputs[IMAGE])
    images = [(source, t("inputs.source")), (custom_components.image_url(record.id), record.request.prompt)]
    custom_components.slider(images, record.width / record.height, t("stage.compare"), key="before_after")
    strips(studio, record, generate_state.show_image)


MOST = 24  # children, and branches, that are shown
LONGEST = 24  # steps back that are shown


def render_lineage(studio: Studio, record: ImageRecord) -> None:
    """Show its input images and the strips; nothing where there are none."""
    if record.request.inputs:
        st.caption(t("lineage.inputs"))
        st.html(_inputs(record))
    strips(studio, record, history_state.select_image)


def strips(studio: Studio, record: ImageRecord, on_pick: Callable[[str], None]) -> None:
    """Show the chain of images that it was made from, the branches of that chain, and its children."""
    chain = chain_of(studio, record)
    if record.request.parent and not chain:  # deleted for good
        custom_components.quiet(t("lineage.parent_gone"))
    several = len(chain) > 1
    _strip(chain, t("lineage.chain", count=len(chain)) if several else t("lineage.parent"), "parent", on_pick)
    branches = _branches(studio, [*chain, record])
    _strip(branches, t("lineage.branches", count=len(branches)), "branches", on_pick)
    children = studio.history.search(HistoryQuery(parent=record.id, limit=MOST))
    _strip(children.records, t("lineage.children", count=children.total), "children", on_pick)


def chain_of(studio: Studio, record: ImageRecord) -> list[ImageRecord]:
    """Return the images that it was made from, the oldest first, as far back as they are still there."""
    chain: list[ImageRecord] = []
    while record.request.parent and len(chain) < LONGEST:
        try:
            record = studio.history.get(record.request.parent)
        except StudioError:
            break
        chain.insert(0, record)
    return chain


def _branches(studio: Studio, chain: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Return what else was made from the images of a chain but its last, the latest step first."""
    own = {record.id for record in chain}
    found: list[ImageRecord] = []
    for record in reversed(chain[:-1]):
        if len(found) < MOST:
            made = studio.history.search(HistoryQuery(parent=record.id, limit=MOST)).records
            found += [one for one in made if one.id not in own]
    return found[:MOST]


def _strip(records: Sequence[ImageRecord], words: str, key: str, on_pick: Callable[[str], None]) -> None:
    if records:
        st.caption(words)
        custom_components.gallery(records, words, on_pick, key=key, layout="strip")


def _inputs(record: ImageRecord) -> str:
    figures = []
    for role, digest in record.request.inputs.items():
        address, name = custom_components.input_url(digest), html.escape(t(f"lineage.{role}"))
        image = f'<a href="{address}" target="_blank" rel="noopener"><img src="{address}" alt="{name}"></a>'
        figures.append(f"<figure>{image}<figcaption>{name}</figcaption></figure>")
    return f'<div class="zd-inputs">{"".join(figures)}</div>'


MOST_JOBS = 60  # of all clients, of which the viewer's are shown
MOST_IMAGES = 24
MOST_WAITING = 6


@dataclass(frozen=True)
class Session:
    """What the viewer asked for: the job in work, those that wait, and the images of those that ended."""

    running: Job | None
    waiting: Sequence[Job]
    records: Sequence[ImageRecord]


def read(studio: Studio, snapshot: QueueSnapshot) -> Session:
    """Return the jobs and images of this viewer; nobody else's images come to the stage by themselves."""
    client = session.client()
    active = [job for job in snapshot.jobs if job.client == client or job.id == generate_state.job_id()]
    working = [job for job in active if job.state is not JobState.QUEUED]
    waiting = [job for job in active if job.state is JobState.QUEUED]
    ids: list[str] = []
    for job in studio.queue.recent(MOST_JOBS):
        if job.client == client or job.id == generate_state.job_id():
            ids.extend(image_id for image_id in reversed(job.image_ids) if image_id not in ids)
    return Session(working[0] if working else None, waiting, _records(studio, ids[:MOST_IMAGES]))


def _records(studio: Studio, ids: Sequence[str]) -> list[ImageRecord]:
    """Return those that are still there."""
    found = []
    for image_id in ids:
        try:
            record = studio.history.get(image_id)
        except StudioError:
            continue
        if record.trashed_at is None:
            found.append(record)
    return found


def render_strip(mine: Session) -> None:
    """Show the strip; a click shows an image, or follows the job."""
    jobs = [*([mine.running] if mine.running else []), *mine.waiting[:MOST_WAITING]]
    if not jobs and not mine.records:
        return
    custom_components.session_view(
        jobs, mine.records, t("generate.strip"), generate_state.stage_image(), key="strip", on_pick=_pick, on_job=_follow
    )


def _pick(image_id: str) -> None:
    generate_state.show_image(image_id)
    generate_state.set_stage_tab(generate_state.RESULT)


def _follow(job_id: str) -> None:
    generate_state.watch(job_id)
    generate_state.set_stage_tab(generate_state.RESULT)
