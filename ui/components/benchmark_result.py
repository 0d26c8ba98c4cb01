"""Show the results of a benchmark: the table of metrics, the grid of images, and the blind vote."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from core.benchmark import votes as voting
from core.benchmark.report import BenchmarkReport, ColumnResult, Metrics
from core.benchmark.votes import PairResult, VotePair, tallies
from core.studio import Studio
from core.types import ImageRecord, JobState, Vote
from ui import formats
from ui.actions import studio_calls
from ui.components import custom_components, job_status
from ui.formats import sentence
from ui.i18n import t
from ui.state import session

WIDEST = 320  # px of a column of images: thumbnails are no larger
ALIKE = 0.02  # values that are nearer to one another than this share of the best are as good


@dataclass(frozen=True)
class Row:
    """A line of the table: its name, how a column's value reads, and, where one is better, whether the least is."""

    name: str
    value: Callable[[Metrics], float | None]
    format: Callable[[float], str]
    least: bool | None = None


def _obeyed(figures: Metrics) -> float | None:
    return figures.obeyed[0] / figures.obeyed[1] if figures.obeyed else None


ROWS = (
    Row("load", lambda figures: figures.load_seconds, formats.seconds, least=True),
    Row("seconds", lambda figures: figures.seconds, formats.seconds, least=True),
    Row("pace", lambda figures: figures.steps_per_second, lambda value: f"{value:.2f}", least=False),
    Row("memory", lambda figures: figures.peak_memory_bytes, lambda value: formats.size_of(int(value)), least=True),
    Row("disk", lambda figures: figures.disk_bytes, lambda value: formats.size_of(int(value)), least=True),
    Row("obeys", _obeyed, lambda value: f"{value:.1%}", least=False),
    Row("sharpness", lambda figures: figures.sharpness, lambda value: f"{value:.1f}"),
    Row("clipped", lambda figures: figures.clipped, lambda value: f"{value:.1%}"),
    Row("cast", lambda figures: figures.cast, lambda value: f"{value:.0f}"),
)


def table(report: BenchmarkReport, votes: Sequence[Vote]) -> None:
    """Show a column for each column, a line for each figure; the best of a line stands out where one is better."""
    head = "".join(f"<th>{html.escape(measured.column.name)}</th>" for measured in report.columns)
    lines = [f"<tr><th></th>{head}</tr>", _line(t("benchmark.row_images"), [_made(one) for one in report.columns])]
    lines += [_figures(row, report) for row in ROWS]
    lines.append(_line(t("benchmark.row_faults"), [_faults(measured.figures) for measured in report.columns]))
    if votes:
        counts = tallies(votes, len(report.columns))
        wins = [t("benchmark.tally", wins=one.wins, losses=one.losses, equal=one.equal) for one in counts]
        lines.append(_line(t("benchmark.row_votes"), wins))
    st.html(f'<table class="zd-table zd-figures">{"".join(lines)}</table>')
    custom_components.quiet(t("benchmark.how"))


def _figures(row: Row, report: BenchmarkReport) -> str:
    values = [row.value(measured.figures) for measured in report.columns]
    cells = [formats.plain(None) if value is None else row.format(value) for value in values]
    if row.name == "obeys":
        asked = [measured.figures.obeyed for measured in report.columns]
        cells = [f"{cell} ({one[0]}/{one[1]})" if one else cell for cell, one in zip(cells, asked, strict=True)]
    return _line(t(f"benchmark.row_{row.name}"), cells, _best(values, row.least))


def _best(values: Sequence[float | None], least: bool | None) -> list[bool]:
    """Return which values stand out: the best and what is as good, unless all are, or none is better than another."""
    known = [value for value in values if value is not None]
    if least is None or not known:
        return [False] * len(values)
    best = min(known) if least else max(known)
    marked = [value is not None and abs(value - best) < ALIKE * abs(best) for value in values]
    return marked if sum(marked) < len(known) else [False] * len(values)


def _line(name: str, cells: Sequence[str], marked: Sequence[bool] = ()) -> str:
    flags = marked or [False] * len(cells)
    inner = "".join(
        f'<td class="best">{html.escape(cell)}</td>' if flag else f"<td>{html.escape(cell)}</td>"
        for cell, flag in zip(cells, flags, strict=True)
    )
    return f"<tr><th>{html.escape(name)}</th>{inner}</tr>"


def _made(measured: ColumnResult) -> str:
    words = f"{measured.figures.made} / {measured.figures.wanted}"
    if measured.error is not None:
        return f"{words} · {measured.error.message(session.language())}"
    if measured.job is not None and measured.job.state is JobState.QUEUED:
        return f"{words} · {sentence(measured.job)}"
    return words


def _faults(figures: Metrics) -> str:
    """Such as: 2 × black."""
    kinds = sorted(set(figures.faults))
    return ", ".join(f"{figures.faults.count(kind)} × {t(f'benchmark.fault_{kind}')}" for kind in kinds) or "0"


def images(report: BenchmarkReport) -> None:
    """Show a row for each prompt and seed, a cell for each column; a click opens the image in the history."""
    width = len(report.columns)
    head = "".join(f"<th>{html.escape(measured.column.name)}</th>" for measured in report.columns)
    lines = [f"<tr>{head}</tr>"]
    for k, (prompt, seed) in enumerate(report.benchmark.cells):
        words = f"{prompt} · {t('fact.seed')} {seed}"
        cells = "".join(_cell(measured, measured.images[k]) for measured in report.columns)
        lines.append(f'<tr class="row"><th colspan="{width}">{html.escape(words)}</th></tr><tr>{cells}</tr>')
    st.html(f'<table class="zd-sweep zd-cells" style="max-width: {width * WIDEST}px">{"".join(lines)}</table>')


def _cell(measured: ColumnResult, record: ImageRecord | None) -> str:
    if record is None:
        words = t("benchmark.waiting") if measured.active else t("vary.no_image")
        return f"<td><small>{html.escape(words)}</small></td>"
    took = formats.seconds(sum(record.timings.values()))
    image = job_status.linked(record.id, record.request.prompt)
    return f"<td>{image}<small>{html.escape(took)}</small></td>"


BUTTONS = (  # answer, key on the keyboard, icon
    (voting.LEFT, "Left", ":material/arrow_back:"),
    (voting.EQUAL, "Down", ":material/drag_handle:"),
    (voting.RIGHT, "Right", ":material/arrow_forward:"),
)


def vote(studio: Studio, report: BenchmarkReport, votes: Sequence[Vote]) -> None:
    """Show the next pair and the answers; below, folded, the sums."""
    if report.active:
        st.info(t("benchmark.vote_later"), icon=":material/hourglass_empty:")
        return
    voter = session.client()
    every = voting.questions(report, voter)
    question = voting.next_question(report, votes, voter)
    if not every:
        st.info(t("benchmark.vote_none"), icon=":material/image_not_supported:")
    elif question is None:
        st.success(t("benchmark.vote_done", total=len(every)), icon=":material/check_circle:")
    else:
        answered = sum(vote.voter == voter for vote in votes)
        _ask(studio, report, question, answered, len(every))
    if votes:
        with st.expander(t("benchmark.result"), icon=":material/how_to_vote:", key="vote_result"):
            for duel in voting.duels(votes, len(report.columns)):
                st.text(_pair_words(report, duel))
            custom_components.quiet(t("benchmark.result_text", least=voting.MIN_VOTES))


def _ask(studio: Studio, report: BenchmarkReport, question: VotePair, answered: int, total: int) -> None:
    prompt, _ = report.benchmark.cells[question.place - 1]
    st.text(t("benchmark.vote_question", number=min(answered + 1, total), total=total))
    st.text(prompt)
    sides = [report.columns[k].images[question.place - 1] for k in (question.left, question.right)]
    shown = [
        (custom_components.image_url(record.id), t(f"benchmark.side_{side}"))
        for record, side in zip(sides, (voting.LEFT, voting.RIGHT), strict=True)
        if record is not None
    ]
    custom_components.pair(shown, prompt, key="vote_pair")
    with st.container(horizontal=True, horizontal_alignment="center", key="vote_buttons"):
        for side, key, icon in BUTTONS:
            st.button(
                t(f"benchmark.vote_{side}"),
                key=f"vote_{side}",
                icon=icon,
                shortcut=key,
                on_click=studio_calls.ask,
                args=(studio.benchmarks.vote, report.benchmark.id, question.answer(side, session.client())),
            )


def _pair_words(report: BenchmarkReport, duel: PairResult) -> str:
    """Return how often each was liked better, and whether that says anything yet."""
    one, other = (report.columns[k].column.name for k in (duel.one, duel.other))
    counts = t(
        "benchmark.duel", one=one, other=other, wins=duel.wins_one, losses=duel.wins_other, equal=duel.equal
    )  # fmt: skip
    if duel.leader is not None:
        verdict = t("benchmark.duel_leader", name=report.columns[duel.leader].column.name)
    elif duel.decided < voting.MIN_VOTES:
        verdict = t("benchmark.duel_few", count=duel.decided)
    else:
        verdict = t("benchmark.duel_even")
    return f"{counts} {verdict}"
