"""Show a model with its variants as one card: where it is, what it needs, its download, and its actions."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.studio.models import recommended_variant
from core.types import GPU_SIZES, Download, ModelInfo, WorkerStatus
from ui import formats
from ui.actions import form as form_actions
from ui.components import error_card, image_card
from ui.i18n import localized, t
from ui.state import pages as pages_state
from ui.state import session

HUBS = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
PROMINENT = "z-image-turbo"  # its download is one click
FETCHED = ("store", "huggingface", "modelscope")


@dataclass(frozen=True)
class ModelMemory:
    """The memory that a model may take, in bytes: of the largest GPU, or the RAM where there is none."""

    bytes: int
    gpu: bool


def memory_of(studio: Studio) -> ModelMemory:
    """Return the memory of this machine for a model."""
    samples = studio.gauges.samples()
    largest = max((gpu.memory_total or 0 for gpu in samples[-1].gpus), default=0) if samples else 0
    return ModelMemory(largest or studio.system.memory()[0], largest > 0)


def render(
    studio: Studio, group: Sequence[ModelInfo], worker: WorkerStatus, downloads: Mapping[str, Download], memory: ModelMemory,
    shown: set[str],
) -> None:  # fmt: skip
    """Show the card of a model and its variants.

    `shown` are the preview decoders whose download a card before this one shows; this one's is added.
    """
    best = recommended_variant(group, memory.bytes)
    with st.container(border=True, key=f"model_{group[0].id}"):
        info = _variant(group, best, downloads) if len(group) > 1 else group[0]
        rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in _facts(info))
        title = localized(group[0].name)
        st.html(
            f'<section class="zd-card"><h3>{html.escape(title)}</h3>'
            f"<p>{html.escape(localized(info.description))}</p><dl>{rows}</dl></section>"
        )
        under_way = [downloads[name] for name in (*info.part_ids, info.id) if name in downloads]
        under_way = [one for one in under_way if one.state != "done"]
        if info.problem is not None and not under_way and (info.path or not info.sources):
            st.warning(formats.literal(info.problem.message(session.language())), icon=":material/info:")
        for download in under_way:
            _progress(studio, download)
        problem(info.id)
        with st.container(horizontal=True):
            if info.problem is None:
                _use(studio, info, worker)
            elif info.sources and not under_way and session.is_admin():
                if group[0].id == PROMINENT:
                    get_at_once(studio, group[0], info, memory)
                _get(studio, info)
            if session.is_admin():
                _prepared(studio, info)
                _remove(studio, info)
        _decoder(studio, info, downloads, shown)


def problem(place: str) -> None:
    """Show what went wrong at this place of the page, if anything."""
    error = pages_state.model_error(place)
    if error is not None:
        error_card.render(error, f"at_{place}", on_close=lambda: pages_state.set_model_error(place, None))


def ask(place: str, verb: Callable[..., object], *arguments: object) -> bool:
    """Call one of the studio's verbs; a refusal is shown at this place. Returns True if it was done."""
    try:
        verb(*arguments)
    except StudioError as error:
        pages_state.set_model_error(place, error)
        return False
    pages_state.set_model_error(place, None)
    return True


PRESS: Callable[..., Any] = ask  # as the callback of a button, which ignores the result


def _variant(group: Sequence[ModelInfo], best: ModelInfo, downloads: Mapping[str, Download]) -> ModelInfo:
    """Let one of several variants be selected; at first one on its way, else the one that suits this machine."""
    by_id = {one.id: one for one in group}
    key = session.labelled(pages_state.model_field(f"variant:{group[0].id}"))
    if st.session_state.get(key) not in by_id:
        on_its_way = [one for one in group if one.id in downloads and downloads[one.id].state != "done"]
        st.session_state[key] = (on_its_way or [best])[0].id
    selected = st.selectbox(
        t("models.variant"), list(by_id), key=key,
        format_func=lambda name: _variant_name(by_id[name], recommend=name == best.id),
    )  # fmt: skip
    return by_id[selected]


def _variant_name(info: ModelInfo, recommend: bool) -> str:
    parts = [localized(info.name)]
    if info.problem is None:
        parts.append(t(f"models.{info.place}"))
    elif info.download_bytes:
        parts.append(formats.size_of(info.download_bytes))
    return " · ".join([*parts, *([t("models.recommended")] if recommend else [])])


def _facts(info: ModelInfo) -> list[tuple[str, str]]:
    place = t(f"models.{info.place}") if info.place else t("models.absent")
    rows = [(t("models.place"), place)]
    if info.path and info.place != "shipped":
        rows.append((t("models.folder"), info.path))
    rows.append((t("models.pipeline"), info.pipeline))
    rows += [(t(f"models.part_{part}"), where) for part, where in info.parts.items()]
    if info.disk_bytes:
        rows.append((t("models.disk"), formats.size_of(info.disk_bytes)))
    elif info.download_bytes:
        rows.append((t("models.download_size"), formats.size_of(info.download_bytes)))
    if info.memory_bytes:
        rows.append((t("models.needs"), t("models.needs_text", size=formats.size_of(info.memory_bytes))))
        vram = info.tier.upper().replace("GB", " GB") if info.tier else t("models.larger", size=f"{GPU_SIZES[-1]} GB")
        rows.append((t("models.fits_in_vram"), vram))
    if info.licence:
        rows.append((t("models.licence"), info.licence))
    return rows


def _use(studio: Studio, info: ModelInfo, worker: WorkerStatus) -> None:
    if st.button(t("models.use"), key=f"use_{info.id}", icon=":material/photo_camera:"):
        form_actions.use_model(studio, info.id)
        st.switch_page(image_card.GENERATE_PAGE)
    st.button(
        t("models.load"), key=f"load_{info.id}", icon=":material/memory:",
        disabled=worker.model == info.id or worker.state == "loading",
        on_click=PRESS, args=(info.id, studio.models.load, info.id),
    )  # fmt: skip


def get_at_once(studio: Studio, model: ModelInfo, info: ModelInfo, memory: ModelMemory) -> None:
    """Download a variant with its parts by one click; the button says its size and whether its weights fit this machine."""
    given = {"name": formats.literal(localized(model.name)), "size": formats.size_of(info.download_bytes)}
    words = t("models.get_at_once", **given)
    if info.memory_bytes and info.memory_bytes <= memory.bytes:
        kind = "models.get_at_once_gpu" if memory.gpu else "models.get_at_once_ram"
        words = t(kind, **given, memory=f"{round(memory.bytes / 2**30)} GB")
    st.button(
        words, key=f"get_at_once_{info.id}", type="primary", icon=":material/download:", on_click=PRESS,
        args=(info.id, studio.models.download, info.id),
    )  # fmt: skip


def _get(studio: Studio, info: ModelInfo, name: str = "get") -> None:
    """Select a source and start; of a download that failed, another source."""
    icon = ":material/swap_horiz:" if name == "change" else ":material/download:"
    with st.popover(t(f"models.{name}"), icon=icon, key=f"{name}_{info.id}"):
        source, mirror = f"source:{info.id}", f"mirror:{info.id}"
        st.selectbox(t("models.source"), list(info.sources), format_func=HUBS.__getitem__, key=pages_state.model_field(source))
        st.text_input(t("models.mirror"), key=pages_state.model_field(mirror), placeholder=t("models.mirror_hint"))
        st.button(
            t("models.start"),
            key=f"start_{info.id}",
            type="primary",
            on_click=_start,
            args=(studio, info, source, mirror),
        )


def _start(studio: Studio, info: ModelInfo, source: str, mirror: str) -> None:
    hub = pages_state.model_text(source) or None
    ask(info.id, studio.models.download, info.id, hub, pages_state.model_text(mirror).strip() or None)


def _decoder(studio: Studio, info: ModelInfo, downloads: Mapping[str, Download], shown: set[str]) -> None:
    """Offer the tiny decoder for live previews where the model has only a linear map, or show its download."""
    decoder = studio.models.preview_decoder(info)
    if decoder is None or decoder.id in shown:
        return
    download = downloads.get(decoder.id)
    if download is not None and download.state != "done":
        shown.add(decoder.id)
        st.caption(t("models.decoder_on_its_way", name=formats.literal(decoder.id.upper())))
        _progress(studio, download)
        problem(decoder.id)
    elif session.is_admin():
        st.button(
            t("models.get_decoder", name=formats.literal(decoder.id.upper()), size=formats.size_of(decoder.download_bytes)),
            key=f"get_decoder_{info.id}", type="tertiary", icon=":material/preview:", help=t("models.decoder_help"),
            on_click=PRESS, args=(info.id, studio.models.download, decoder.id),
        )  # fmt: skip


def _progress(studio: Studio, download: Download) -> None:
    share = download.done_bytes / download.total_bytes if download.total_bytes else 0.0
    values = {
        "done": formats.size_of(download.done_bytes),
        "total": formats.size_of(download.total_bytes),
        "speed": f"{formats.size_of(int(download.speed))}/s" if download.speed else "–",
    }
    words = t(f"models.{download.state}", **values)
    if download.active and download.attempt > 1:
        words = t("models.attempt", attempt=download.attempt, attempts=download.attempts)
    elif download.eta_seconds is not None and download.state == "running":
        words += " · " + t("models.left", time=formats.seconds(download.eta_seconds))
    st.progress(min(1.0, share), text=words)
    where = [HUBS.get(download.hub, download.hub), download.repository, download.file]
    st.caption(formats.literal(" · ".join(part for part in where if part)))
    if download.error is not None:
        error_card.render(download.error, f"download_{download.model}")
    if not session.is_admin():
        return
    with st.container(horizontal=True):
        if download.active:
            _button("pause", "pause", studio.downloads.pause, download.model)
        elif download.state == "failed":
            _button("retry", "replay", studio.downloads.resume, download.model)
        else:
            _button("resume", "play_arrow", studio.downloads.resume, download.model)
        if download.state == "failed" or download.attempt > 1:
            _get(studio, studio.catalog.find(download.model), "change")
        _button("cancel", "delete", studio.downloads.cancel, download.model)


def _button(name: str, icon: str, verb: Callable[[str], object], model: str) -> None:
    st.button(
        t(f"models.{name}"), key=f"{name}_{model}", icon=f":material/{icon}:", on_click=PRESS, args=(model, verb, model)
    )


def _prepared(studio: Studio, info: ModelInfo) -> None:
    """Say what of the model is written as it is used, and delete that behind a second click."""
    files = [one for one in studio.models.prepared() if one.model == info.id]
    if not files:
        return
    size = formats.size_of(sum(one.bytes for one in files))
    with st.popover(t("models.prepared", size=size), icon=":material/bolt:", key=f"prepared_{info.id}"):
        parts = ", ".join(f"{one.part} ({one.form})" for one in files)
        st.text(t("models.prepared_text", name=localized(info.name), parts=parts, size=size))
        st.button(
            t("models.prepared_delete"), key=f"forget_prepared_{info.id}", on_click=PRESS,
            args=(info.id, studio.models.remove_prepared, info.id),
        )  # fmt: skip


def _remove(studio: Studio, info: ModelInfo) -> None:
    """Behind a second click, with what will be gone."""
    if not info.own and info.place not in FETCHED:
        return
    name = "forget" if info.own and info.place != "store" else "delete"
    with st.popover(t(f"models.{name}"), icon=":material/delete:", key=f"remove_{info.id}"):
        st.text(t(f"models.{name}_text", name=localized(info.name), size=formats.size_of(info.disk_bytes)))
        st.button(
            t(f"models.{name}"), key=f"{name}_{info.id}", on_click=PRESS, args=(info.id, studio.models.remove, info.id)
        )


SHOWN = 30  # cards of a page: a thousand take seconds to draw
_T = TypeVar("_T")


def selected(items: Sequence[_T], key: str, name_of: Callable[[_T], str]) -> list[_T]:
    """Return the items to show: all where they fit on a page; else with a search field and a choice of the page above.

    `key` begins the keys of both: KEY_find and KEY_page.
    """
    if len(items) <= SHOWN:
        return list(items)
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"{key}_pages"):
        words = st.text_input(t("cards.find"), key=f"{key}_find").casefold()
        found = [item for item in items if words in name_of(item).casefold()]
        first = st.selectbox(
            t("cards.page"),
            range(0, max(1, len(found)), SHOWN),
            format_func=lambda start: f"{min(start + 1, len(found))}–{min(start + SHOWN, len(found))} / {len(found)}",
            key=f"{key}_page",
        )
    return found[first : first + SHOWN]
