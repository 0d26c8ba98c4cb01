"""One picture of the history with everything that made it, beside the gallery."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

import streamlit as st

from core.config.options import SCHEMA
from core.studio import Studio
from core.types import HistoryQuery, ImageRecord, MarkChange
from ui import actions, formats, state
from ui.components import again, elements, image_card
from ui.i18n import said, t


def draw(studio: Studio, record: ImageRecord, query: HistoryQuery) -> None:
    """The picture, what can be done with it, its prompt as text, and all its parameters.

    The arrows go to the one before and the one after it in the order of `query`.
    """

    def step(towards: int) -> None:
        neighbour = studio.neighbours(query, record.id)[0 if towards < 0 else 1]
        if neighbour:
            state.select_image(neighbour)

    elements.zoom(record, t("detail.zoom"), key="detail_zoom", on_step=step)
    with st.container(horizontal=True, horizontal_alignment="center", key="detail_steps"):
        for name, towards, icon in (("before", -1, "chevron_left"), ("after", 1, "chevron_right")):
            st.button(
                t(f"detail.{name}"), key=f"step_{name}", icon=f":material/{icon}:", type="tertiary", on_click=step,
                args=(towards,),
            )  # fmt: skip
    image_card.facts(record, key="detail_facts")
    if record.missing:
        st.warning(t("history.missing"), icon=":material/broken_image:")
    _buttons(studio, record)
    _foretold(studio, record)
    _marks(studio, record)
    st.code(record.request.prompt, language=None, wrap_lines=True)
    if record.request.template:
        st.caption(t("detail.template"))
        st.code(record.request.template, language=None, wrap_lines=True)
    if record.request.negative_prompt:
        st.caption(said(SCHEMA.options["generation.negative_prompt"].label))
        st.code(record.request.negative_prompt, language=None, wrap_lines=True)
    st.html(table(_main_rows(record), (t("detail.parameter"), t("detail.requested"), t("detail.effective"))))
    with st.expander(t("detail.advanced"), key="detail_advanced"):
        st.html(table(_option_rows(record), (t("detail.parameter"), t("detail.requested"), t("detail.effective"))))
    with st.expander(t("detail.environment"), key="detail_environment"):
        rows = [(name, formats.plain(value), "", "") for name, value in _environment(record)]
        st.html(table(rows, (t("detail.parameter"), t("detail.value"))))


def _buttons(studio: Studio, record: ImageRecord) -> None:
    made_here = "taken_in_from" not in record.effective  # the model of any other picture is not here
    with st.container(horizontal=True, key="detail_buttons"):
        if st.button(t("history.use"), key="use_settings", type="primary", icon=":material/tune:"):
            state.fill_form_from(record.request)
            st.switch_page(image_card.GENERATE_PAGE)
        if made_here:
            again.button(studio, record)
            again.vary(studio, record)
        image_card.download(studio, record, "detail_download")
        if record.trashed_at:
            st.button(
                t("history.restore"), key="restore_one", icon=":material/restore_from_trash:",
                on_click=actions.restore, args=(studio, [record.id]),
            )  # fmt: skip
        else:
            st.button(
                t("history.trash"), key="trash_one", icon=":material/delete:", on_click=actions.trash,
                args=(studio, [record.id]),
            )  # fmt: skip
        st.button(
            t("history.close"), key="close_detail", icon=":material/close:", on_click=state.select_image, args=(None,)
        )


def _foretold(studio: Studio, record: ImageRecord) -> None:
    if "taken_in_from" not in record.effective:
        again.foretold(studio, record)


def _marks(studio: Studio, record: ImageRecord) -> None:
    """Rating, favourite, tags, collections and note; each is kept the moment it is changed."""
    marks, key = record.marks, f"{record.id}_{state.history_version()}"

    def changed(**values: Any) -> None:
        actions.mark(studio, [record.id], MarkChange(**values))

    def named(field: str, had: tuple[str, ...], widget: str) -> None:
        now = set(st.session_state[widget])
        changed(**{f"add_{field}": tuple(now.difference(had)), f"remove_{field}": tuple(set(had) - now)})

    with st.container(horizontal=True, vertical_alignment="center", key="detail_marks"):
        stars = f"stars_{key}"
        st.feedback(
            "stars", key=stars, default=marks.rating - 1 if marks.rating else None,
            on_change=lambda: changed(rating=0 if st.session_state[stars] is None else st.session_state[stars] + 1),
        )  # fmt: skip
        st.button(
            t("column.favourite"), key="favourite", type="primary" if marks.favourite else "secondary",
            icon=":material/favorite:", on_click=actions.toggle_favourite, args=(studio, record.id),
        )  # fmt: skip
    for field, known, had in (("tags", studio.tags(), marks.tags),
                              ("collections", studio.collections(), marks.collections)):  # fmt: skip
        widget = f"{field}_{key}"
        st.multiselect(
            t(f"column.{field}"), sorted({*known, *had}), list(had), key=widget, accept_new_options=True,
            on_change=named, args=(field, had, widget),
        )  # fmt: skip
    note = f"note_{key}"
    st.text_area(
        t("column.note"), marks.note, key=note, height=68, on_change=lambda: changed(note=st.session_state[note])
    )


Row = tuple[str, str, str, str]  # parameter, requested, effective, reason


def _main_rows(record: ImageRecord) -> list[Row]:
    request = record.request
    labels = {name: said(SCHEMA.options[f"generation.{name}"].label) for name in
              ("num_inference_steps", "guidance_scale", "seed")}  # fmt: skip
    delivered = formats.pixels(record.width, record.height)
    rendered = formats.pixels(*record.rendered_size)
    rows = [
        (t("detail.when"), formats.moment(record.created_at), "", ""),
        (said(SCHEMA.options["model.id"].label), request.model, "", ""),
        (t("fact.size"), formats.pixels(request.width, request.height), delivered, ""),
        (t("detail.rendered"), "", rendered, t("detail.cropped") if rendered != delivered else ""),
        *((label, formats.plain(getattr(request, name)), "", "") for name, label in labels.items()),
        (t("detail.file"), f"{record.format.upper()} · {formats.size_of(record.bytes)}", "", ""),
    ]
    rows.extend((t(f"phase_short.{name}"), "", formats.seconds(value), "") for name, value in record.timings.items())
    if record.peak_memory_bytes:
        rows.append((t("fact.peak"), "", formats.size_of(record.peak_memory_bytes), ""))
    rows.extend(_decided(record))
    return rows


def _decided(record: ImageRecord) -> Iterable[Row]:
    for decision in record.decisions:
        yield (
            _label(decision.option),
            formats.plain(decision.requested),
            formats.plain(decision.effective),
            said(decision.reason),
        )


def _option_rows(record: ImageRecord) -> list[Row]:
    decided = {decision.option for decision in record.decisions}
    return [
        (_label(key), formats.plain(value), formats.plain(record.effective.get(key, value)), "")
        for key, value in record.request.options.items()
        if key not in decided
    ]


def _environment(record: ImageRecord) -> list[tuple[str, object]]:
    pairs = [(name, value) for name, value in record.effective.items() if name not in record.request.options]
    flat = [
        (f"{name}.{inner}", item) for name, value in pairs if isinstance(value, dict) for inner, item in value.items()
    ]
    return [(name, value) for name, value in pairs if not isinstance(value, dict)] + flat


def _label(key: str) -> str:
    option = SCHEMA.options.get(key)
    return said(option.label) if option else key


def table(rows: Iterable[Row], head: tuple[str, ...]) -> str:
    """An HTML table of escaped text. A value that came out as it was asked for is said once."""
    lines = ["<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in head) + "</tr>"]
    for name, requested, effective, reason in rows:
        values = [requested, effective][: len(head) - 1]
        same = len(values) == 2 and (not effective or effective == requested)
        cells = (
            f'<td colspan="2">{html.escape(requested)}</td>'
            if same
            else "".join(f"<td>{html.escape(v)}</td>" for v in values)
        )
        lines.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
        if reason:
            lines.append(f'<tr class="why"><td></td><td colspan="2">{html.escape(reason)}</td></tr>')
    return f'<table class="zd-table">{"".join(lines)}</table>'
