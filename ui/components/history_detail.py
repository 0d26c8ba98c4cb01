"""Show one image of the history with everything that made it, beside the gallery."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.config.options import GROUPS, SCHEMA
from core.config.schema import AUTO
from core.errors import StudioError
from core.studio import Studio
from core.types import AnnotationChange, Decision, HistoryQuery, ImageRecord
from ui import formats
from ui.actions import annotate
from ui.actions import form as form_actions
from ui.actions import input_images as input_actions
from ui.components import custom_components, image_card, rerun, result
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import history as history_state
from ui.state import input_images as input_state


def render(studio: Studio, record: ImageRecord, query: HistoryQuery) -> None:
    """Draw what can be done with the image, the image, its prompt as text, and all its parameters.

    The arrows go to the one before and the one after it in the order of `query`.
    """

    def step(towards: int) -> None:
        # from what is open by now: keys that follow quickly come before the page is drawn with the next image
        try:
            neighbour = studio.history.neighbours(query, history_state.selected_image() or record.id)[0 if towards < 0 else 1]
        except StudioError:  # deleted meanwhile: the page says so
            return
        if neighbour:
            history_state.select_image(neighbour)

    _buttons(studio, record, query)
    words = {name: t(f"detail.{name}") for name in ("before", "after", "in", "out", "actual")}
    words |= {"hint": t("detail.zoom"), "close": t("history.close")}
    custom_components.zoom(record, words, key="detail_zoom", on_step=step)
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="detail_steps"
    ):
        _step_button("before", "chevron_left", step, -1)
        _opinion(studio, record)
        _step_button("after", "chevron_right", step, 1)
    image_card.facts(record, key="detail_facts")
    if record.missing:
        st.warning(t("history.missing"), icon=":material/broken_image:")
    _prompts(record)
    _foretold(studio, record)
    result.render_lineage(studio, record)
    _marks(studio, record)
    render_parameters(record)


def _prompts(record: ImageRecord) -> None:
    if record.known("prompt") is None:
        custom_components.quiet(t("detail.no_prompt"))
    else:
        st.code(record.request.prompt, language=None, wrap_lines=True)
    if record.request.template:
        st.caption(t("detail.template"))
        st.code(record.request.template, language=None, wrap_lines=True)
    if record.request.original_prompt:
        st.caption(t("detail.original_prompt"))
        st.code(record.request.original_prompt, language=None, wrap_lines=True)
    if record.request.negative_prompt:
        st.caption(localized(SCHEMA.options["generation.negative_prompt"].label))
        st.code(record.request.negative_prompt, language=None, wrap_lines=True)
    if record.request.negative_template:
        st.caption(t("detail.negative_template"))
        st.code(record.request.negative_template, language=None, wrap_lines=True)


def _step_button(name: str, icon: str, step: Callable[[int], None], towards: int) -> None:
    st.button(
        t(f"detail.{name}"), key=f"step_{name}", icon=f":material/{icon}:", help=t(f"detail.{name}"), type="tertiary",
        on_click=step, args=(towards,),
    )  # fmt: skip


def _buttons(studio: Studio, record: ImageRecord, query: HistoryQuery) -> None:
    """Draw what can be done with the image, in one row above it, and the x that closes it."""
    made_here = "taken_in_from" not in record.effective  # the model of any other image is not here
    with st.container(horizontal=True, vertical_alignment="center", key="detail_buttons"):
        known = made_here or form_state.known_values(record, {model.id for model in studio.catalog.models()})
        if st.button(
            t("history.use"), key="use_settings", type="primary", icon=":material/tune:", disabled=not known,
            help=None if known else t("detail.nothing_known"),
        ):  # fmt: skip
            form_actions.open_form(studio)  # this page may be the first that is opened
            if isinstance(known, dict):
                form_state.fill_form(known)
                if "model.id" not in known:
                    form_actions.say_model_stays(studio)
            else:
                form_state.fill_form_from(record.request)
            input_state.set_sources_of(record.request)
            st.switch_page(image_card.GENERATE_PAGE)
        if made_here:
            rerun.button(studio, record)
            rerun.vary(studio, record)
        if st.button(
            image_card.start_words(studio), key="detail_start_from", icon=image_card.START_ICON,
            help=image_card.start_words(studio), type="tertiary",
        ) and input_actions.send_to_form(studio, record):  # fmt: skip
            st.switch_page(image_card.GENERATE_PAGE)
        if input_actions.takes_further(studio) and st.button(
            t("image.refer_to"), key="detail_refer_to", icon=":material/library_add:", help=t("image.refer_to"),
            type="tertiary", disabled=record.missing,
        ):  # fmt: skip
            input_actions.refer_to(studio, record)
            st.switch_page(image_card.GENERATE_PAGE)
        st.button(
            t("image.upscale"), key="detail_upscale", icon=":material/zoom_out_map:", help=t("image.upscale"),
            type="tertiary", on_click=input_actions.upscale, args=(studio, record), disabled=record.missing,
        )  # fmt: skip
        image_card.download(studio, record, "detail_download", quiet=True)
        if record.trashed_at:
            st.button(
                t("history.restore"), key="restore_one", icon=":material/restore_from_trash:", help=t("history.restore"),
                type="tertiary", on_click=annotate.restore, args=(studio, [record.id]),
            )  # fmt: skip
        else:
            st.button(
                t("history.trash"), key="trash_one", icon=":material/delete:", help=t("history.trash"), type="tertiary",
                on_click=annotate.trash_open, args=(studio, query, record.id),
            )  # fmt: skip
        st.button(
            t("history.close"), key="close_detail", icon=":material/close:", help=t("history.close"), type="tertiary",
            on_click=history_state.select_image, args=(None,),
        )  # fmt: skip


def _foretold(studio: Studio, record: ImageRecord) -> None:
    if "taken_in_from" not in record.effective:
        rerun.foretold(studio, record)


def _opinion(studio: Studio, record: ImageRecord) -> None:
    """Stars and favourite, kept the moment they are clicked."""
    marks, stars = record.marks, f"stars_{record.id}_{history_state.history_version()}"

    def rated() -> None:
        given = st.session_state[stars]
        annotate.mark(studio, [record.id], AnnotationChange(rating=0 if given is None else given + 1))

    st.feedback("stars", key=stars, default=marks.rating - 1 if marks.rating else None, on_change=rated)
    st.button(
        t("column.favourite"), key="favourite", type="primary" if marks.favourite else "tertiary",
        icon=":material/favorite:", help=t("column.favourite"), on_click=annotate.toggle_favourite, args=(studio, record.id),
    )  # fmt: skip


def _marks(studio: Studio, record: ImageRecord) -> None:
    """Tags, collections and note; each is kept the moment it is changed."""
    marks, key = record.marks, f"{record.id}_{history_state.history_version()}"

    def named(field: str, had: tuple[str, ...], widget: str) -> None:
        now = set(st.session_state[widget])
        new: dict[str, Any] = {f"add_{field}": tuple(now.difference(had)), f"remove_{field}": tuple(set(had) - now)}
        annotate.mark(studio, [record.id], AnnotationChange(**new))

    def noted(widget: str) -> None:
        annotate.mark(studio, [record.id], AnnotationChange(note=st.session_state[widget]))

    for field, known, had in (("tags", studio.history.labels("tag"), marks.tags),
                              ("collections", studio.history.labels("collection"), marks.collections)):  # fmt: skip
        widget = f"{field}_{key}"
        st.multiselect(
            t(f"column.{field}"), sorted({*known, *had}), list(had), key=widget, accept_new_options=True,
            placeholder=t("history.names_hint"), on_change=named, args=(field, had, widget),
        )  # fmt: skip
    note = f"note_{key}"
    st.text_area(t("column.note"), marks.note, key=note, height=68, on_change=noted, args=(note,))


BASIC = ("num_inference_steps", "cfg_scale", "seed")


@dataclass(frozen=True)
class Row:
    """One line: what was asked for, what was in effect ("" where that is the same or nothing is known), and why."""

    name: str
    requested: str
    effective: str = ""
    reason: str = ""
    changed: bool = False  # not what it would be by default


Section = tuple[str, Sequence[Row]]  # its heading, "" for none


def render_parameters(record: ImageRecord) -> None:
    """Show the image's own parameters at once, the advanced options by group and the rest folded."""
    head = (t("detail.parameter"), t("detail.requested"), t("detail.effective"))
    st.html(table(_main_sections(record), head))
    groups = _groups(record)
    changed = sum(row.changed for _, rows in groups for row in rows)
    title = t("detail.advanced_changed", count=changed) if changed else t("detail.advanced")
    with st.expander(title, key="detail_advanced"):
        st.html(table(groups, head))
    made_here = "taken_in_from" not in record.effective
    with st.expander(t("detail.environment") if made_here else t("detail.elsewhere"), key="detail_environment"):
        rows = [Row(name, formats.plain(value)) for name, value in _rest(record)]
        st.html(table([("", rows)], (t("detail.parameter"), t("detail.value"))))


def _main_sections(record: ImageRecord) -> list[Section]:
    request, total = record.request, sum(record.timings.values())
    delivered = formats.pixels(record.width, record.height)
    values = {**vars(request), **dict.fromkeys(record.unknown)}

    def known(name: str) -> str:
        return t("fact.unknown") if values[name] is None else formats.plain(values[name])

    image = [
        Row(localized(SCHEMA.options["model.id"].label), known("model")),
        Row(t("fact.size"), formats.pixels(request.width, request.height), delivered, _why_resized(record)),
        *(Row(localized(SCHEMA.options[f"generation.{name}"].label), known(name)) for name in BASIC),
    ]
    spent = [Row(t(f"phase_short.{name}"), formats.seconds(value)) for name, value in record.timings.items()]
    spent += [Row(t("detail.total"), formats.seconds(total))] if len(spent) > 1 else []
    if record.peak_memory_bytes:
        spent.append(Row(image_card.peak_label(record), formats.size_of(record.peak_memory_bytes)))
    file = [
        Row(t("detail.when"), formats.moment(record.created_at)),
        Row(t("detail.file"), record.file),
        Row(t("column.format"), f"{record.format.upper()} · {formats.size_of(record.bytes)}"),
    ]
    return [("", image), (t("detail.spent"), spent), (t("detail.file"), file)]


def _why_resized(record: ImageRecord) -> str:
    if record.rendered_size == (record.width, record.height):
        return ""
    exact = record.request.options.get("force_original_resolution", True)
    return t("detail.cropped" if exact else "detail.resized", size=formats.pixels(*record.rendered_size))


def _groups(record: ImageRecord) -> list[Section]:
    """Return every option of the request and every decision, under the headings of the panels."""
    decisions = {decision.option: decision for decision in record.decisions}
    asked: dict[str, Any] = dict(record.request.options)
    asked |= {key: decision.requested for key, decision in decisions.items() if key not in asked}
    by_group: dict[str, list[Row]] = {name: [] for name in (*GROUPS, "")}
    for key, value in asked.items():
        option = SCHEMA.options.get(key)
        group = option.group if option is not None and option.group in GROUPS else ""
        effective = record.effective.get(key, value)
        by_group[group].append(_option_row(key, value, effective, decisions.get(key)))
    names = {**{name: localized(words) for name, words in GROUPS.items()}, "": t("detail.other")}
    return [(names[name], rows) for name, rows in by_group.items() if rows]


def _option_row(key: str, asked: Any, effective: Any, decision: Decision | None) -> Row:
    option = SCHEMA.options.get(key)
    reason = ""
    if decision is not None:
        effective, reason = decision.effective, localized(decision.reason)
    elif asked == AUTO and effective != AUTO:
        reason = t("detail.by_model")
    label = localized(option.label) if option else key
    changed = option is not None and asked != option.default
    return Row(label, formats.plain(asked), formats.plain(effective), reason, changed)


def _rest(record: ImageRecord) -> list[tuple[str, object]]:
    """Return what is in effect beside the options: model revision, scheduler, versions; or what another program wrote."""
    pairs = [(name, value) for name, value in record.effective.items() if name not in record.request.options]
    flat = [
        (f"{name}.{inner}", item) for name, value in pairs if isinstance(value, dict) for inner, item in value.items()
    ]
    return [(name, value) for name, value in pairs if not isinstance(value, dict)] + flat


def table(sections: Iterable[Section], head: tuple[str, ...]) -> str:
    """Return an HTML table of escaped text. A value that came out as it was asked for is said once."""
    lines = ["<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in head) + "</tr>"]
    for title, rows in sections:
        if title and rows:
            lines.append(f'<tr class="group"><th colspan="{len(head)}">{html.escape(title)}</th></tr>')
        lines.extend(_line(row, len(head)) for row in rows)
    return f'<table class="zd-table">{"".join(lines)}</table>'


def _line(row: Row, columns: int) -> str:
    kind = ' class="changed"' if row.changed else ""
    if row.effective in ("", row.requested):
        cells = f'<td colspan="{columns - 1}">{html.escape(row.requested)}</td>'
    else:
        cells = f"<td>{html.escape(row.requested)}</td><td>{html.escape(row.effective)}</td>"
    line = f"<tr{kind}><th>{html.escape(row.name)}</th>{cells}</tr>"
    why = f'<tr class="why"><td></td><td colspan="{columns - 1}">{html.escape(row.reason)}</td></tr>'
    return line + why if row.reason else line
