"""Show the machine, the model and the reasons of automatic choices, as cards; the end of the log is folded."""

from __future__ import annotations

import html

import streamlit as st

from core.config.options import SCHEMA
from core.config.schema import HIDDEN
from core.studio import Studio
from core.types import SystemReport, WorkerStatus
from ui import formats, resources
from ui.actions import form as form_actions
from ui.components import error_card, system_cards
from ui.i18n import localized, t
from ui.state import session as page_state

REFRESH_SECONDS = 5


def page() -> None:
    studio = resources.studio()
    form_actions.open_form(studio)
    for number, error in enumerate(page_state.errors()):
        error_card.render(error, f"system{number}")
    st.fragment(system_cards.issues, run_every=REFRESH_SECONDS)(studio)
    with st.container(border=True, key="charts_card"):
        st.html(f'<section class="zd-card"><h3>{html.escape(t("charts.title"))}</h3></section>')
        st.fragment(system_cards.charts, run_every=system_cards.CHART_SECONDS)(studio)
    st.fragment(_cards, run_every=REFRESH_SECONDS)(studio)
    system_cards.users(studio)


def _cards(studio: Studio) -> None:
    report = studio.system.report()
    worker = report.worker
    state_words = t(f"worker.{worker.state}")
    system_cards.workers(studio, worker)
    with st.grid(3, min_column_width=300, gap="small", key="cards"):
        _card(
            t("system.model"),
            [
                (t("system.loaded"), worker.model or "–"),
                (t("system.worker"), f"{state_words} · {worker.pid}" if worker.pid else state_words),
                (t("system.load_time"), formats.seconds(worker.load_seconds)),
                (t("system.worker_memory"), _memory(worker)),
            ],
        )
        _card(
            t("system.machine"),
            [
                (t("system.device"), worker.device or "–"),
                (t("system.cpu"), str(report.cpu_count)),
                (t("system.memory"), _of(report.memory_available, report.memory_total)),
                (t("system.platform"), report.platform),
                (t("system.allocator"), worker.allocator or "–"),
            ],
        )
        _card(t("system.output"), _output(studio, report))
        _card(t("system.choices"), [], _choices(report))
        _card(t("system.tools"), [], _tools(worker))
        _card(
            t("system.versions"), [("Python", report.python), *sorted({**report.versions, **worker.versions}.items())]
        )
        _card(t("system.settings"), [], _changed(studio))
    with st.expander(t("system.log"), icon=":material/article:", key="log"):
        st.code("\n".join(report.log_tail) or "–", language=None, height=320, wrap_lines=True)


def _output(studio: Studio, report: SystemReport) -> list[tuple[str, str]]:
    """Return the folder on this machine, and where images and history are when they are not there. No URL has a password."""
    places = ((t("system.images"), "storage.images"), (t("system.history"), "storage.database"))
    elsewhere = [(words, str(studio.settings[key])) for words, key in places if studio.settings[key]]
    folder = (t("system.folder"), report.output_directory)
    return [folder, *elsewhere, (t("system.free"), formats.size_of(report.disk_free))]


def _memory(worker: WorkerStatus) -> str:
    """Of the worker; and before, where an idle model has given its memory back."""
    now = formats.size_of(worker.memory_bytes)
    return t("system.unloaded", now=now, before=formats.size_of(worker.unloaded_from)) if worker.unloaded_from else now


def _of(free: int, total: int) -> str:
    return t("system.of", free=formats.size_of(free), total=formats.size_of(total))


def _card(title: str, rows: list[tuple[str, str]], more: str = "") -> None:
    """Show a card, all of it as text: folder names and versions come from outside."""
    facts = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in rows)
    with st.container(border=True):
        st.html(f'<section class="zd-card"><h3>{html.escape(title)}</h3><dl>{facts}</dl>{more}</section>')


def _choices(report: SystemReport) -> str:
    """Return each automatic choice with its reason."""
    if not report.worker.decisions:
        return f"<p>{html.escape(t('system.no_choices'))}</p>"
    lines = []
    for decision in report.worker.decisions:
        option = SCHEMA.options.get(decision.option)
        name = localized(option.label) if option else decision.option
        asked = "" if decision.requested == decision.effective else f"{formats.plain(decision.requested)} → "
        value = html.escape(f"{asked}{formats.plain(decision.effective)}")
        lines.append(
            f"<li><b>{html.escape(name)}</b> <code>{value}</code><p>{html.escape(localized(decision.reason))}</p></li>"
        )
    return f"<ul>{''.join(lines)}</ul>"


def _tools(worker: WorkerStatus) -> str:
    """Return what can be chosen on this machine, and why the rest cannot."""
    if not worker.capabilities:
        return f"<p>{html.escape(t('system.no_choices'))}</p>"
    lines = []
    for capability in sorted(worker.capabilities, key=lambda one: not one.usable):
        state = t("system.usable") if capability.usable else t("system.unusable")
        lines.append(
            f"<li><b>{html.escape(state)}</b> <code>{html.escape(capability.value)}</code>"
            f"<p>{html.escape(localized(capability.reason))}</p></li>"
        )
    return f"<ul>{''.join(lines)}</ul>"


def _changed(studio: Studio) -> str:
    """Return what differs from the defaults, and which file, variable or flag says so."""
    settings = studio.settings
    changed = {key: value for key, value in settings.values.items() if value != SCHEMA.options[key].default}
    shown = {key: HIDDEN if SCHEMA.options[key].secret else formats.plain(value) for key, value in changed.items()}
    rows = [
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(words)}<small>{html.escape(settings.origins[key])}</small></dd>"
        for key, words in shown.items()
    ]
    return f"<dl>{''.join(rows)}</dl>" if rows else f"<p>{html.escape(t('system.all_default'))}</p>"


page()
