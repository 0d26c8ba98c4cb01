"""One picture of the history with everything that made it, beside the gallery."""

from __future__ import annotations

import html
from collections.abc import Iterable

import streamlit as st

from core.config.options import SCHEMA
from core.studio import Studio
from core.types import ImageRecord
from ui import actions, formats, state
from ui.components import image_card
from ui.i18n import said, t


def draw(studio: Studio, record: ImageRecord) -> None:
    """The picture, what can be done with it, its prompt as text, and all its parameters."""
    image_card.large(record, key="detail_picture", reveal=True)
    image_card.facts(record, key="detail_facts")
    if record.missing:
        st.warning(t("history.missing"), icon=":material/broken_image:")
    _buttons(studio, record)
    st.code(record.request.prompt, language=None, wrap_lines=True)
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
    with st.container(horizontal=True, key="detail_buttons"):
        if st.button(t("history.use"), key="use_settings", type="primary", icon=":material/tune:"):
            state.fill_form_from(record.request)
            st.switch_page(image_card.GENERATE_PAGE)
        if st.button(t("history.again"), key="run_again", icon=":material/replay:") and actions.submit(
            studio, record.request
        ):
            st.switch_page(image_card.GENERATE_PAGE)
        image_card.download(studio, record, "detail_download")
        with st.popover(t("history.delete"), icon=":material/delete:", key="delete"):
            st.text(t("history.delete_text"))
            st.button(
                t("history.delete_now"),
                key="delete_now",
                type="primary",
                on_click=actions.delete_image,
                args=(studio, record.id),
            )
        st.button(
            t("history.close"), key="close_detail", icon=":material/close:", on_click=state.select_image, args=(None,)
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
