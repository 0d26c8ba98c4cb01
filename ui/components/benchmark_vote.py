"""Show the blind vote: two images of the same prompt and seed without their names, three answers, and the tally."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.benchmark import votes as voting
from core.benchmark.report import BenchmarkReport
from core.benchmark.votes import PairResult, VotePair
from core.studio import Studio
from core.types import Vote
from ui.actions import studio_calls
from ui.components import custom_components
from ui.i18n import t
from ui.state import session

BUTTONS = (  # answer, key on the keyboard, icon
    (voting.LEFT, "Left", ":material/arrow_back:"),
    (voting.EQUAL, "Down", ":material/drag_handle:"),
    (voting.RIGHT, "Right", ":material/arrow_forward:"),
)


def draw(studio: Studio, report: BenchmarkReport, votes: Sequence[Vote]) -> None:
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
                st.text(_said(report, duel))
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


def _said(report: BenchmarkReport, duel: PairResult) -> str:
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
