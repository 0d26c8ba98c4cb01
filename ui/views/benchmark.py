"""Show the Benchmark page: set up, watch and vote on a comparison of models and settings."""

from __future__ import annotations

import streamlit as st

from core.benchmark import report as reports
from core.errors import StudioError
from core.studio import Studio
from core.types import Benchmark, JobState
from ui import formats, progress_poll, resources
from ui.actions import studio_calls
from ui.components import benchmark_form, benchmark_result, custom_components, error_card, job_status
from ui.i18n import t
from ui.state import benchmark as benchmark_state
from ui.state import session
from ui.state import session as page_state

VIEWS = ("table", "images", "vote")
SHOWN = 30  # benchmarks of the list
LEAST_POLL, IMAGES_A_SECOND = (
    1.0,
    50,
)  # every look reads all images of the benchmark, so many are looked at less often


def page() -> None:
    studio = resources.studio()
    for number, error in enumerate(page_state.errors()):
        error_card.render(error, f"benchmark{number}")
    benchmark_id = benchmark_state.open_benchmark()
    if benchmark_id is None:
        st.text(t("benchmark.text"))
        benchmark_form.render(studio)
        _saved(studio)
        return
    benchmark_state.put_benchmark_in_address()
    st.button(
        t("benchmark.new"),
        key="new_benchmark",
        icon=":material/arrow_back:",
        type="tertiary",
        on_click=benchmark_state.set_open_benchmark,
        args=(None,),
    )
    try:
        benchmark = studio.benchmarks.get(benchmark_id)
    except StudioError as error:
        error_card.render(error, "benchmark")
        return
    _shown(studio, benchmark)


def _shown(studio: Studio, benchmark: Benchmark) -> None:
    active = any(job.state.active for job in reports.jobs(studio, benchmark))
    with st.container(horizontal=True, vertical_alignment="center", key="benchmark_head"):
        view = st.segmented_control(
            t("history.view"), VIEWS, key=session.labelled(benchmark_state.VIEW), default="table", required=True,
            label_visibility="collapsed", format_func={name: t(f"benchmark.view_{name}") for name in VIEWS}.__getitem__,
        )  # fmt: skip
        if not active:
            address = f"/api/comparisons/{benchmark.id}"
            st.link_button(t("benchmark.csv"), f"{address}/table", icon=":material/table:")
            st.link_button(t("benchmark.sheet"), f"{address}/sheet", icon=":material/grid_on:")
    wanted = len(benchmark.cells) * len(benchmark.columns)
    poll = max(LEAST_POLL, wanted / IMAGES_A_SECOND, job_status.poll_seconds(studio))
    safety = max(poll, job_status.SAFETY_SECONDS) if active else None
    st.fragment(_live, run_every=safety)(studio, benchmark, view or VIEWS[0], poll, active)


def _live(studio: Studio, benchmark: Benchmark, view: str, poll: float, was_active: bool) -> None:
    """As it stands now; rerun with each image, and the whole page when the last one has ended."""
    mark = progress_poll.mark(studio.queue.snapshot())
    with st.spinner(t("benchmark.measuring"), show_time=False):
        report = reports.report(studio, benchmark)
    if was_active and not report.active:
        st.rerun()
    votes = studio.benchmarks.votes(benchmark.id)
    _progress(studio, report, mark, poll)
    if view == "vote":
        benchmark_result.vote(studio, report, votes)
    elif view == "images":
        benchmark_result.images(report)
    else:
        benchmark_result.table(report, votes)


def _progress(studio: Studio, report: reports.BenchmarkReport, mark: str, poll: float) -> None:
    """Show how far all of it is, and the button that stops it, or goes on with what is missing."""
    benchmark = report.benchmark
    with st.container(key="progress", horizontal=True, vertical_alignment="center"):
        if report.active:
            st.text(t("guide.done", done=report.made, total=report.wanted), width="content")
            current = job_status.first_in_work(one.job for one in report.columns if one.job)
            custom_components.pulse(mark, poll, key="pulse", job=current, images=True)
            st.button(
                t("job.cancel"),
                key="cancel_benchmark",
                on_click=studio_calls.ask,
                args=(reports.cancel, studio, benchmark),
            )
        elif any(one.job and one.job.state in (JobState.FAILED, JobState.CANCELLED) for one in report.columns):
            st.text(t("benchmark.stopped", done=report.made, total=report.wanted))
            st.button(
                t("benchmark.go_on"), key="retry_benchmark", icon=":material/replay:", on_click=studio_calls.ask,
                args=(reports.retry, studio, benchmark),
            )  # fmt: skip


def _saved(studio: Studio) -> None:
    """Show the benchmarks that are kept, newest first; the words as text."""
    found = studio.benchmarks.recent(SHOWN)
    if not found:
        return
    st.subheader(t("benchmark.saved"))
    for benchmark in found:
        with st.container(horizontal=True, vertical_alignment="center", key=f"saved_{benchmark.id}"):
            names = " | ".join(column.name for column in benchmark.columns)
            cells = len(benchmark.cells)
            count = t("benchmark.saved_line", prompts=len(benchmark.prompts), images=cells * len(benchmark.columns))
            st.text(f"{names}\n{formats.moment(benchmark.created_at)} · {count}")
            st.button(
                t("benchmark.open"),
                key=f"open_{benchmark.id}",
                on_click=benchmark_state.set_open_benchmark,
                args=(benchmark.id,),
            )
            st.button(
                "",
                key=f"forget_{benchmark.id}",
                icon=":material/delete:",
                help=t("benchmark.forget"),
                type="tertiary",
                on_click=studio_calls.ask,
                args=(studio.benchmarks.forget, benchmark.id),
            )


page()
