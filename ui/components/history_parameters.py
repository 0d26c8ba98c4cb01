"""Show the parameters of an image as tables: grouped as in the panels, requested beside effective values, with reasons."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.config.options import GROUPS, SCHEMA
from core.config.schema import AUTO
from core.types import Decision, ImageRecord
from ui import formats
from ui.components import image_card
from ui.i18n import localized, t

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


def draw(record: ImageRecord) -> None:
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
