"""A sweep as a grid: one cell an image, linked to its row in the history; the contact sheet when all are done."""

from __future__ import annotations

import html

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import Job, JobState, ParameterSweep
from ui import formats, progress_poll, resources
from ui.components import custom_components, error_card, history_table, job_status, thumbnails
from ui.i18n import t
from ui.job_words import sentence

HISTORY_PAGE = "views/history.py"


def page() -> None:
    studio = resources.studio()
    if st.button(t("compare.back"), key="back", icon=":material/arrow_back:", type="tertiary"):
        st.switch_page(HISTORY_PAGE)
    try:
        sheet = studio.sweeps.get(st.query_params.get("sheet", ""))
        active = any(studio.queue.get(job_id).state.active for job_id in sheet.jobs)
    except StudioError as error:
        error_card.draw(error, "sheet")
        return
    st.fragment(_grid, run_every=job_status.SAFETY_SECONDS if active else None)(studio, sheet)
    if not active:
        st.link_button(t("vary.sheet"), f"/api/sheets/{sheet.id}", icon=":material/download:")


def _grid(studio: Studio, sheet: ParameterSweep) -> None:
    """The cells as they are now; when the last has ended the whole page is rerun, with the contact sheet."""
    mark = progress_poll.mark(studio.queue.snapshot())
    jobs = [studio.queue.get(job_id) for job_id in sheet.jobs]
    across = len(sheet.axes[0].values)
    names = [history_table.column_name(axis.key) for axis in sheet.axes]
    down = [formats.plain(value) for value in sheet.axes[1].values] if len(sheet.axes) > 1 else [""]
    head = "".join(f"<th>{html.escape(formats.plain(value))}</th>" for value in sheet.axes[0].values)
    lines = [f"<tr><th>{html.escape(' × '.join(names))}</th>{head}</tr>"]
    for k, label in enumerate(down):
        cells = "".join(_cell(job) for job in jobs[k * across : (k + 1) * across])
        lines.append(f"<tr><th>{html.escape(label)}</th>{cells}</tr>")
    st.html(f'<table class="zd-sheet">{"".join(lines)}</table>')
    if all(not job.state.active for job in jobs) and st.session_state.get("sheet_active") == sheet.id:
        st.session_state["sheet_active"] = None
        st.rerun()
    current = job_status.first_in_work(jobs)
    if current is not None:
        st.session_state["sheet_active"] = sheet.id
        custom_components.pulse(mark, job_status.poll_seconds(studio), key="pulse", job=current)


def _cell(job: Job) -> str:
    """The image, or where it is on its way."""
    if job.image_ids:
        return f"<td>{thumbnails.linked(job.image_ids[0], job.request.prompt)}</td>"
    words = t("vary.no_picture")
    if job.state.active:
        words = sentence(job) if job.state is JobState.QUEUED else t("vary.drawing")
    return f"<td><small>{html.escape(words)}</small></td>"


page()
