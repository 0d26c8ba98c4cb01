"""The models: what is on this machine, what is in memory, what can be fetched and how far that is."""

from __future__ import annotations

import html

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import CARDS, Download, ModelInfo, SystemReport, WorkerStatus
from ui import actions, formats, resources, state
from ui.components import embedding_cards, error_card, lora_cards
from ui.i18n import said, t

REFRESH_SECONDS = 2
HUBS = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}


def page() -> None:
    studio = resources.studio()
    for number, error in enumerate(state.errors()):
        error_card.draw(error, f"models{number}")
    error_card.settings_problems(studio.catalog.problems())
    st.fragment(_draw, run_every=REFRESH_SECONDS)(studio)
    lora_cards.draw(studio)
    embedding_cards.draw(studio)
    if not state.is_admin():
        st.caption(t("models.admin_only"))
        return
    with st.expander(t("models.add"), icon=":material/add:", key="add_model"):
        st.text_input(t("models.add_path"), key=state.model_field("path"))
        st.button(t("models.add_button"), key="add_button", on_click=_add, args=(studio,))
    with st.expander(t("models.token"), icon=":material/key:", key="tokens"):
        st.caption(t("models.token_text"))
        for hub in HUBS:
            _token(studio, hub)


def _draw(studio: Studio) -> None:
    report, worker = studio.system.report(), studio.worker.status()
    _memory(studio, worker, report)
    downloads = {download.model: download for download in studio.downloads.all()}
    with st.grid(2, min_column_width=340, gap="small", key="model_cards"):
        for info in studio.catalog.models():
            _card(studio, info, worker, downloads.get(info.id))


# -- what is in memory -------------------------------------------------------------------------------------------------


def _memory(studio: Studio, worker: WorkerStatus, report: SystemReport) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="in_memory"):
        words = _loaded(worker)
        free = t(
            "models.machine", disk=formats.size_of(report.disk_free), memory=formats.size_of(report.memory_available)
        )
        st.text(f"{words}\n{free}")
        st.button(
            t("models.unload"),
            key="unload",
            icon=":material/eject:",
            disabled=worker.model is None or worker.state == "loading",
            on_click=actions.ask,
            args=(studio.worker.unload,),
        )
    refusal = studio.worker.refusal()
    if refusal is not None and worker.state != "loading":
        error_card.draw(refusal, "load")


def _loaded(worker: WorkerStatus) -> str:
    if worker.state == "loading":
        return t("models.loading")
    if worker.model is None:
        return t("models.nothing_loaded")
    parts = [f"{t('models.loaded')}: {worker.model}"]
    if worker.load_seconds is not None:
        parts.append(t("models.load_time", time=formats.seconds(worker.load_seconds)))
    parts.append(t("models.memory", size=formats.size_of(worker.memory_bytes)))
    return " · ".join(parts)


# -- one model ---------------------------------------------------------------------------------------------------------


def _card(studio: Studio, info: ModelInfo, worker: WorkerStatus, download: Download | None) -> None:
    with st.container(border=True, key=f"model_{info.id}"):
        rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in _facts(info))
        st.html(
            f'<section class="zd-card"><h3>{html.escape(said(info.name))}</h3>'
            f"<p>{html.escape(said(info.description))}</p><dl>{rows}</dl></section>"
        )
        on_its_way = download is not None and download.state != "done"
        if info.problem is not None and not on_its_way and (info.path or not info.sources):
            st.warning(formats.literal(info.problem.message(state.language())), icon=":material/info:")
        if download is not None and on_its_way:
            _progress(studio, download)
        with st.container(horizontal=True):
            if info.problem is None:
                _use(studio, info, worker)
            elif info.sources and not on_its_way and state.is_admin():
                _get(studio, info)
            if state.is_admin():
                _remove(studio, info)


def _facts(info: ModelInfo) -> list[tuple[str, str]]:
    place = t(f"models.{info.place}") if info.place else t("models.absent")
    rows = [(t("models.place"), place), (t("models.pipeline"), info.pipeline)]
    if info.disk_bytes:
        rows.append((t("models.disk"), formats.size_of(info.disk_bytes)))
    elif info.download_bytes:
        rows.append((t("models.download_size"), formats.size_of(info.download_bytes)))
    if info.memory_bytes:
        rows.append((t("models.needs"), t("models.needs_text", size=formats.size_of(info.memory_bytes))))
        card = info.tier.upper().replace("GB", " GB") if info.tier else t("models.larger", size=f"{CARDS[-1]} GB")
        rows.append((t("models.card"), card))
    if info.licence:
        rows.append((t("models.licence"), info.licence))
    return rows


def _use(studio: Studio, info: ModelInfo, worker: WorkerStatus) -> None:
    st.button(
        t("models.load"),
        key=f"load_{info.id}",
        icon=":material/memory:",
        disabled=worker.model == info.id or worker.state == "loading",
        on_click=actions.ask,
        args=(studio.models.load, info.id),
    )


def _get(studio: Studio, info: ModelInfo) -> None:
    with st.popover(t("models.get"), icon=":material/download:", key=f"get_{info.id}"):
        source, mirror = f"source:{info.id}", f"mirror:{info.id}"
        st.selectbox(t("models.source"), list(info.sources), format_func=HUBS.get, key=state.model_field(source))
        st.text_input(t("models.mirror"), key=state.model_field(mirror), placeholder=t("models.mirror_hint"))
        st.button(
            t("models.start"),
            key=f"start_{info.id}",
            type="primary",
            on_click=_start,
            args=(studio, info.id, source, mirror),
        )


def _progress(studio: Studio, download: Download) -> None:
    share = download.done_bytes / download.total_bytes if download.total_bytes else 0.0
    values = {
        "done": formats.size_of(download.done_bytes),
        "total": formats.size_of(download.total_bytes),
        "speed": f"{formats.size_of(int(download.speed))}/s" if download.speed else "–",
    }
    words = t(f"models.{download.state}", **values)
    if download.eta_seconds is not None and download.state == "running":
        words += " · " + t("models.left", time=formats.seconds(download.eta_seconds))
    st.progress(min(1.0, share), text=words)
    if download.file:
        st.caption(formats.literal(f"{HUBS.get(download.hub, download.hub)} · {download.repository} · {download.file}"))
    if download.error is not None:
        error_card.draw(download.error, f"download_{download.model}")
    if not state.is_admin():
        return
    with st.container(horizontal=True):
        if download.active:
            _button("pause", "pause", studio.downloads.pause, download.model)
        else:
            _button("resume", "play_arrow", studio.downloads.resume, download.model)
        _button("cancel", "delete", studio.downloads.cancel, download.model)


def _button(name: str, icon: str, verb, model: str) -> None:
    st.button(
        t(f"models.{name}"), key=f"{name}_{model}", icon=f":material/{icon}:", on_click=actions.ask, args=(verb, model)
    )


def _remove(studio: Studio, info: ModelInfo) -> None:
    """Behind a second click, with what will be gone."""
    if not info.own and info.place not in ("store", "huggingface", "modelscope"):
        return
    name = "forget" if info.own and info.place != "store" else "delete"
    with st.popover(t(f"models.{name}"), icon=":material/delete:", key=f"remove_{info.id}"):
        st.text(t(f"models.{name}_text", name=said(info.name), size=formats.size_of(info.disk_bytes)))
        st.button(
            t(f"models.{name}"), key=f"{name}_{info.id}", on_click=actions.ask, args=(studio.models.remove, info.id)
        )


# -- what buttons do ---------------------------------------------------------------------------------------------------


def _start(studio: Studio, model: str, source: str, mirror: str) -> None:
    hub = state.model_text(source) or None
    actions.ask(studio.models.download, model, hub, state.model_text(mirror).strip() or None)


def _add(studio: Studio) -> None:
    path = state.model_text("path").strip()
    if not path:
        return
    try:
        info = studio.catalog.add(path)
    except StudioError as error:
        state.set_errors([error])
        return
    state.set_errors(())
    state.empty_model_field("path")
    st.toast(t("models.added", name=formats.literal(said(info.name))))


def _token(studio: Studio, hub: str) -> None:
    name = f"token:{hub}"
    hint = t("models.token_there") if studio.downloads.has_token(hub) else ""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            t("models.token_of", hub=HUBS[hub]),
            key=state.model_field(name),
            type="password",
            placeholder=hint,
            autocomplete="off",
        )
        st.button(t("models.token_save"), key=f"save_{hub}", on_click=_save_token, args=(studio, hub, name))


def _save_token(studio: Studio, hub: str, name: str) -> None:
    actions.ask(studio.downloads.save_token, hub, state.model_text(name))
    state.empty_model_field(name)


page()
