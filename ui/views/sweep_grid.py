"""Show a sweep as a grid: one cell an image, linked to the history; the contact sheet when all are done."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import streamlit as st

from core.errors import StudioError
from core.studio import Studio, sweep_axes
from core.types import Axis, Job, JobState, ParameterSweep
from ui import formats, progress_poll, resources
from ui.components import custom_components, error_card, job_status
from ui.formats import sentence
from ui.i18n import localized, t

HISTORY_PAGE = "views/history.py"


def page() -> None:
    studio = resources.studio()
    if st.button(t("compare.back"), key="back", icon=":material/arrow_back:", type="tertiary"):
        st.switch_page(HISTORY_PAGE)
    try:
        sweep = studio.sweeps.get(st.query_params.get("sheet", ""))
        active = any(studio.queue.get(job_id).state.active for job_id in sweep.jobs)
    except StudioError as error:
        error_card.render(error, "sheet")
        return
    st.fragment(_grid, run_every=job_status.SAFETY_SECONDS if active else None)(studio, sweep)
    if not active:
        st.link_button(t("vary.sheet"), f"/api/sheets/{sweep.id}", icon=":material/download:")


def _grid(studio: Studio, sweep: ParameterSweep) -> None:
    """Show the cells as they are now; when the last has ended the whole page is rerun, with the contact sheet."""
    mark = progress_poll.mark(studio.queue.snapshot())
    jobs = [studio.queue.get(job_id) for job_id in sweep.jobs]
    size = math.prod(len(axis.values) for axis in sweep.axes[:2])
    blocks = sweep.axes[2].values if len(sweep.axes) > 2 else ("",)
    for k, value in enumerate(blocks):
        if len(sweep.axes) > 2:
            st.subheader(f"{localized(sweep_axes.label(sweep.axes[2].key))}: {formats.plain(value)}")
        st.html(_table(sweep.axes[:2], jobs[k * size : (k + 1) * size]))
    if all(not job.state.active for job in jobs) and st.session_state.get("sheet_active") == sweep.id:
        st.session_state["sheet_active"] = None
        st.rerun()
    current = job_status.first_in_work(jobs)
    if current is not None:
        st.session_state["sheet_active"] = sweep.id
        custom_components.pulse(mark, job_status.poll_seconds(studio), key="pulse", job=current)


def _table(axes: Sequence[Axis], jobs: Sequence[Job]) -> str:
    """Return one block of cells: the first axis across, the second, if any, down."""
    across = len(axes[0].values)
    names = [localized(sweep_axes.label(axis.key)) for axis in axes]
    down = [formats.plain(value) for value in axes[1].values] if len(axes) > 1 else [""]
    head = "".join(f'<th scope="col">{html.escape(formats.plain(value))}</th>' for value in axes[0].values)
    lines = [f"<tr><th>{html.escape(' × '.join(names))}</th>{head}</tr>"]
    for k, label in enumerate(down):
        cells = "".join(_cell(job) for job in jobs[k * across : (k + 1) * across])
        lines.append(f'<tr><th scope="row">{html.escape(label)}</th>{cells}</tr>')
    return f'<table class="zd-sweep">{"".join(lines)}</table>'


def _cell(job: Job) -> str:
    """Return the image, or where it is on its way."""
    if job.image_ids:
        return f"<td>{job_status.linked(job.image_ids[0], job.request.prompt)}</td>"
    words = t("vary.no_image")
    if job.state.active:
        words = sentence(job) if job.state is JobState.QUEUED else t("vary.drawing")
    return f"<td><small>{html.escape(words)}</small></td>"


page()
