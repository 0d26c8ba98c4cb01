"""Show the models: on this machine, in memory, available to download, and downloads in progress."""

from __future__ import annotations

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.studio.models import groups_of_variants
from core.types import SystemReport, WorkerStatus
from ui import formats, resources
from ui.actions import studio_calls
from ui.components import error_card, lora_cards, model_card
from ui.i18n import localized, t
from ui.state import pages as pages_state
from ui.state import session
from ui.state import session as page_state

REFRESH_SECONDS = 2


def page() -> None:
    studio = resources.studio()
    for number, error in enumerate(page_state.errors()):
        error_card.render(error, f"models{number}")
    error_card.settings_problems(studio.catalog.problems())
    with studio.catalog.remembering():  # cards of models and of LoRAs look at all models
        st.fragment(_draw, run_every=REFRESH_SECONDS)(studio)
        lora_cards.render(studio)
    lora_cards.embeddings(studio)
    if not session.is_admin():
        st.caption(t("models.admin_only"))
        return
    with st.expander(t("models.add"), icon=":material/add:", key="add_model"):
        st.text_input(t("models.add_path"), key=pages_state.model_field("path"))
        model_card.problem("path")
        st.button(t("models.add_button"), key="add_button", on_click=_add, args=(studio,))
    with st.expander(t("models.token"), icon=":material/key:", key="tokens"):
        st.caption(t("models.token_text"))
        for hub in model_card.HUBS:
            _token(studio, hub)


def _draw(studio: Studio) -> None:
    report, worker = studio.system.report(), studio.worker.status()
    _memory(studio, worker, report)
    downloads = {download.model: download for download in studio.downloads.all()}
    groups = groups_of_variants(studio.catalog.models())
    groups.sort(key=lambda group: group[0].id not in (model_card.PROMINENT, "demo"))
    groups = model_card.selected(groups, "model", lambda group: f"{localized(group[0].name)} {group[0].id}")
    shown: set[str] = set()
    with st.grid(2, min_column_width=340, gap="small", key="model_cards"):
        for group in groups:
            model_card.render(studio, group, worker, downloads, model_card.memory_of(studio), shown)


# -- what is in memory -------------------------------------------------------------------------------------------------


def _memory(studio: Studio, worker: WorkerStatus, report: SystemReport) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="in_memory"):
        words = _loaded(worker)
        free = t(
            "models.machine", disk=formats.size_of(report.disk_free), memory=formats.size_of(report.memory_available)
        )
        st.text(f"{words}\n{free}")
        ahead = worker.state == "loading" and worker.total_bytes > 0  # not for a job, which has a Cancel of its own
        st.button(
            t("models.cancel_load") if ahead else t("models.unload"),
            key="unload",
            icon=":material/close:" if ahead else ":material/eject:",
            disabled=not ahead and (worker.model is None or worker.state == "loading"),
            on_click=studio_calls.ask,
            args=(studio.worker.unload,),
        )
    refusal = studio.worker.refusal()
    if refusal is not None and worker.state != "loading":
        error_card.render(refusal, "load")


def _loaded(worker: WorkerStatus) -> str:
    if worker.state == "loading" and worker.total_bytes:
        read, total = formats.size_of(worker.read_bytes), formats.size_of(worker.total_bytes)
        return t("models.reading", read=read, total=total)
    if worker.state == "loading":
        return t("models.loading")
    if worker.model is None:
        return t("models.nothing_loaded")
    parts = [f"{t('models.loaded')}: {worker.model}"]
    if worker.load_seconds is not None:
        parts.append(t("models.load_time", time=formats.seconds(worker.load_seconds)))
    parts.append(t("models.memory", size=formats.size_of(worker.memory_bytes)))
    return " · ".join(parts)


# -- what buttons do ---------------------------------------------------------------------------------------------------


def _add(studio: Studio) -> None:
    path = pages_state.model_text("path").strip()
    if not path:
        return
    try:
        info = studio.catalog.add(path)
    except StudioError as error:
        pages_state.set_model_error("path", error)
        return
    pages_state.set_model_error("path", None)
    pages_state.empty_model_field("path")
    st.toast(t("models.added", name=formats.literal(localized(info.name))))


def _token(studio: Studio, hub: str) -> None:
    name = f"token:{hub}"
    hint = t("models.token_there") if studio.downloads.has_token(hub) else ""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            t("models.token_of", hub=model_card.HUBS[hub]),
            key=pages_state.model_field(name),
            type="password",
            placeholder=hint,
            autocomplete="off",
        )
        st.button(t("models.token_save"), key=f"save_{hub}", on_click=_save_token, args=(studio, hub, name))
    model_card.problem(name)


def _save_token(studio: Studio, hub: str, name: str) -> None:
    if model_card.ask(name, studio.downloads.save_token, hub, pages_state.model_text(name)):
        pages_state.empty_model_field(name)


page()
