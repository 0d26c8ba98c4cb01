"""Compare two to nine images: list what differs, and for two show where and how much."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.studio.why import SMALL, change_words
from core.types import ImageRecord, SubmitOptions, WhyPlan, WhyReport, WhyStep
from ui import formats, resources
from ui.actions import annotate, studio_calls
from ui.components import custom_components, error_card, image_card, job_status
from ui.i18n import t
from ui.state import history as history_state
from ui.state import session

if TYPE_CHECKING:
    import pandas


STUDY = "why"  # in the address: the study that is shown, so that it survives F5
LOOK_SECONDS = 1.0


def _why(studio: Studio, first: ImageRecord, second: ImageRecord) -> None:
    """Draw the study in the address if there is one, else the plan with its buttons."""
    with st.container(border=True, key="why"):
        st.subheader(t("why.title"))
        study = st.query_params.get(STUDY)
        try:
            report = studio.why.report(study) if study else None
        except StudioError as error:
            error_card.render(error, "why_study", on_close=_forget)
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
            f"<figure>{job_status.linked(image_id, words)}<figcaption>{html.escape(words)}</figcaption></figure>"
            for image_id, words in shown
        ]
        st.html(f'<div class="zd-steps">{"".join(figures)}</div>')


MOST = 9
NOT_COMPARED = ("image", "when", "bytes", "note")
HISTORY_PAGE = "views/history.py"


def page() -> None:
    studio = resources.studio()
    records = _records(studio)
    if st.button(t("compare.back"), key="back", icon=":material/arrow_back:", type="tertiary"):
        st.switch_page(HISTORY_PAGE)
    if len(records) < 2:
        st.info(t("compare.too_few", most=MOST), icon=":material/compare:")
        return
    if len(records) == 2:
        _two(studio, records[0], records[1])
    else:
        _side_by_side(studio, records)
    frame, equal = image_card.without_equal(image_card.frame_of(tuple(records)))
    _differences(frame.drop(columns=[name for name in NOT_COMPARED if name in frame]), len(equal))
    if len(records) == 2:
        _why(studio, records[0], records[1])


def _records(studio: Studio) -> list[ImageRecord]:
    """Return the selected images, in their order; the address keeps them over a reload."""
    if "ids" in st.query_params and not history_state.selected_images():
        history_state.select_images(st.query_params["ids"].split(","), by_page=True)
    selected = history_state.selected_images()[:MOST]
    if selected:
        st.query_params["ids"] = ",".join(selected)
    found = []
    for image_id in selected:
        try:
            found.append(studio.history.get(image_id))
        except StudioError as error:
            error_card.render(error, f"compare_{len(found)}")
    return found


def _two(studio: Studio, first: ImageRecord, second: ImageRecord) -> None:
    """Slider, side by side, or map, with the figures; images of different sizes only side by side."""
    try:
        gap = studio.images.difference(first.id, second.id)
    except StudioError as error:
        error_card.render(error, "difference")
        return
    if not gap.same_size:
        _side_by_side(studio, [first, second])
        st.text(t("compare.sizes"))
        return
    views = ("slider", "beside", "map")
    view = st.segmented_control(
        t("history.view"), views, key=session.labelled("compare_view"), default="slider", required=True,
        label_visibility="collapsed", format_func={name: t(f"compare.{name}") for name in views}.__getitem__,
    )  # fmt: skip
    if view == "slider":
        images = [(custom_components.image_url(one.id), one.request.prompt) for one in (first, second)]
        custom_components.slider(images, first.width / first.height, t("compare.slider"), key="compare_slider")
    elif view == "beside":
        _side_by_side(studio, [first, second])
    else:
        custom_components.image(
            custom_components.difference_url(first.id, second.id),
            t("compare.map"),
            (first.width, first.height),
            key="heat",
        )
    if view != "beside":
        with st.container(horizontal=True, horizontal_alignment="distribute", key="compared_pair"):
            for number, record in enumerate((first, second), 1):
                _actions(studio, record, number)
    if gap.identical:
        st.success(t("compare.identical"), icon=":material/check_circle:")
        return
    changed = f"{gap.changed:.1%}"
    st.text(t("compare.figures", largest=gap.largest, mean=f"{gap.mean:.3g}", changed=changed, psnr=f"{gap.psnr:.1f}"))


def _side_by_side(studio: Studio, records: list[ImageRecord]) -> None:
    across = 2 if len(records) in (2, 4) else 3
    for start in range(0, len(records), across):
        columns = st.columns(across)
        for k, (column, record) in enumerate(zip(columns, records[start : start + across], strict=False)):
            with column:
                number = start + k + 1
                custom_components.image(
                    custom_components.image_url(record.id), record.request.prompt, (record.width, record.height),
                    key=f"compared_{number}",
                )  # fmt: skip
                _actions(studio, record, number)


def _actions(studio: Studio, record: ImageRecord, number: int) -> None:
    """Show the number that an image has in the table, and what can be done with it."""
    with st.container(horizontal=True, vertical_alignment="center", width="content", key=f"compared_actions_{number}"):
        st.text(str(number))
        st.button(
            t("column.favourite"), key=f"compare_favourite_{number}", icon=":material/favorite:",
            help=t("column.favourite"), type="primary" if record.marks.favourite else "tertiary",
            on_click=annotate.toggle_favourite, args=(studio, record.id),
        )  # fmt: skip
        if st.button(
            t("image.history"), key=f"compare_open_{number}", icon=":material/open_in_full:",
            help=t("image.history"), type="tertiary",
        ):  # fmt: skip
            st.switch_page(HISTORY_PAGE, query_params={"image": record.id})


def _differences(frame: pandas.DataFrame, equal: int) -> None:
    """Show one column an image, one row a parameter that differs."""
    shown = [name for name in frame.columns if frame[name].nunique(dropna=False) > 1]
    if not shown:
        st.text(t("compare.nothing"))
        return
    head = "".join(f"<th>{k + 1}</th>" for k in range(len(frame)))
    rows = "".join(
        f"<tr><th>{html.escape(image_card.column_name(name))}</th>"
        + "".join(f"<td>{html.escape(_said(name, value))}</td>" for value in frame[name])
        + "</tr>"
        for name in shown
    )
    st.html(f'<table class="zd-table"><tr><th></th>{head}</tr>{rows}</table>')
    st.caption(t("compare.equal", count=equal))


def _said(name: str, value: object) -> str:
    return formats.seconds(value) if name == "seconds" and isinstance(value, float) else formats.plain(value)


page()
