"""Show why two images differ: the plan with its order and cost, the progress, the ranking, and the strip from one to the other."""

from __future__ import annotations

import html
from collections.abc import Sequence

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.studio.why import SMALL, change_words
from core.types import ImageRecord, SubmitOptions, WhyPlan, WhyReport, WhyStep
from ui.actions import studio_calls
from ui.components import error_card, thumbnails
from ui.i18n import t
from ui.state import session

STUDY = "why"  # in the address: the study that is shown, so that it survives F5
LOOK_SECONDS = 1.0


def draw(studio: Studio, first: ImageRecord, second: ImageRecord) -> None:
    """Draw the study in the address if there is one, else the plan with its buttons."""
    with st.container(border=True, key="why"):
        st.subheader(t("why.title"))
        study = st.query_params.get(STUDY)
        try:
            report = studio.why.report(study) if study else None
        except StudioError as error:
            error_card.draw(error, "why_study", on_close=_forget)
            return
        if report is None or {report.study.plan.one, report.study.plan.other} != {first.id, second.id}:
            _offer(studio, first, second)
        else:
            st.fragment(_progress, run_every=LOOK_SECONDS if report.active else None)(studio, report.study.id)


def _offer(studio: Studio, first: ImageRecord, second: ImageRecord) -> None:
    try:
        plan = studio.why.plan(first.id, second.id)
    except StudioError as error:
        st.text(error.message(session.language()))
        return
    st.caption(t("why.help", count=plan.renders, width=plan.size[0], height=plan.size[1]))
    _table_of(plan)
    with st.container(horizontal=True):
        for name, size in (("start", SMALL), ("start_full", 0)):
            st.button(
                t(f"why.{name}"), key=f"why_{name}", icon=":material/science:" if size else ":material/photo_size_select_large:",
                type="primary" if size else "secondary", on_click=_start, args=(studio, first.id, second.id, size),
            )  # fmt: skip


def _table_of(plan: WhyPlan) -> None:
    changes = [change_words(change, session.language()) for change in plan.changes]
    st.html(_list("ol", changes))
    if plan.fixed:
        st.html(_list("ul", [t("why.fixed", name=name, before=before, after=after) for name, before, after in plan.fixed]))


def _list(kind: str, lines: Sequence[str]) -> str:
    """Return lines of plain text as a list in HTML."""
    return f'<{kind} class="zd-why">{"".join(f"<li>{html.escape(line)}</li>" for line in lines)}</{kind}>'


def _start(studio: Studio, one: str, other: str, size: int) -> None:
    def start() -> None:
        terms = SubmitOptions(client=session.client())
        st.query_params[STUDY] = studio.why.start(one, other, size, terms=terms).id

    studio_calls.ask(start)


def _forget() -> None:
    st.query_params.pop(STUDY, None)


def _progress(studio: Studio, study_id: str) -> None:
    report = studio.why.report(study_id)
    plan = report.study.plan
    if report.active:
        st.progress(report.done / plan.renders, t("why.progress", done=report.done, count=plan.renders))
        st.button(
            t("why.cancel"), key="why_cancel", icon=":material/close:", on_click=studio_calls.ask,
            args=(studio.why.cancel, study_id),
        )  # fmt: skip
    elif report.failed:
        st.warning(t("why.failed", count=report.failed), icon=":material/warning:")
    _ranking(report)
    _strip(report)
    if not report.active:
        st.button(t("why.again"), key="why_again", icon=":material/replay:", on_click=_forget)


def _ranking(report: WhyReport) -> None:
    """The measured changes, the one that moved the image most first."""
    lines = [f"{change_words(step.change, session.language())} · {_moved(step)}" for step in report.ranked]
    if lines:
        st.html(_list("ol", lines))


def _moved(step: WhyStep) -> str:
    return t("why.moved", distance=f"{step.distance:.2f}") if step.distance else t("why.same")


def _strip(report: WhyReport) -> None:
    """The images from the first to the second, under each the change that was made for it."""
    shown = [(report.first_image, t("why.first"))] if report.first_image else []
    shown += [(step.image_id, change_words(step.change, session.language())) for step in report.steps if step.image_id]
    if shown:
        figures = [
            f"<figure>{thumbnails.linked(image_id, words)}<figcaption>{html.escape(words)}</figcaption></figure>"
            for image_id, words in shown
        ]
        st.html(f'<div class="zd-steps">{"".join(figures)}</div>')
