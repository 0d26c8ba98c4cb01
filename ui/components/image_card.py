"""One finished picture: large, with a line of facts that copy, and what can be done with it."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from core.studio import Studio
from core.types import ImageRecord
from ui import actions, formats, state
from ui.components import custom_components
from ui.i18n import t

HISTORY_PAGE = "views/history.py"
GENERATE_PAGE = "views/generate.py"
START_ICON = ":material/add_photo_alternate:"


def large(record: ImageRecord) -> None:
    """The same element as the preview's, so that the preview turns into the picture."""
    size = (record.width, record.height)
    custom_components.image(custom_components.image_url(record.id), record.request.prompt, size, key="stage_picture")


def facts(record: ImageRecord, key: str = "facts") -> None:
    """Seed, size, steps, guidance, times and memory; a click on one copies it."""
    request, times = record.request, record.timings
    parts = ", ".join(f"{t(f'phase_short.{name}')} {formats.seconds(value)}" for name, value in times.items())
    took = f"{formats.seconds(sum(times.values()))} ({parts})" if times else t("fact.unknown")
    rows = [
        (t("fact.seed"), *(_known(record, "seed"),) * 2),
        (t("fact.size"), formats.pixels(record.width, record.height), f"{record.width}x{record.height}"),
        (t("fact.steps"), _steps(record), _known(record, "num_inference_steps")),
        (t("fact.time"), took, took),
    ]
    if request.guided:
        rows.insert(3, (t("fact.guidance"), *(f"{request.cfg_scale:g}",) * 2))
    if record.peak_memory_bytes:
        peak = formats.size_of(record.peak_memory_bytes)
        rows.append((peak_label(record), peak, peak))
    custom_components.facts(rows, t("fact.copy"), t("fact.copied"), key=key)


def peak_label(record: ImageRecord) -> str:
    """Return what the peak memory of the image is of: VRAM, or RAM on a CPU."""
    return t("fact.peak_cpu") if str(record.effective.get("device", "")).startswith("cpu") else t("fact.peak")


def _known(record: ImageRecord, name: str) -> str:
    """Return a field of the request as text; an imported image may not tell it."""
    value = record.known(name)
    return t("fact.unknown") if value is None else str(value)


def _steps(record: ImageRecord) -> str:
    """As asked for; over a picture, how many of them were run, and those of a second pass."""
    asked, effective = _known(record, "num_inference_steps"), record.effective
    parts = [f"{effective['img2img.steps']} / {asked}" if "img2img.steps" in effective else asked]
    return " + ".join([*parts, *([str(effective["hires.steps_run"])] if "hires.steps_run" in effective else [])])


def buttons(studio: Studio, record: ImageRecord) -> None:
    """Under the picture on Generate."""
    with st.container(horizontal=True, horizontal_alignment="center", key="picture_buttons"):
        download(studio, record, "download")
        st.button(
            t("picture.reuse_seed"),
            key="reuse_seed",
            icon=":material/push_pin:",
            on_click=lambda: state.fill_form({"generation.seed": record.request.seed}),
        )
        st.button(
            t("picture.new_seed"),
            key="new_seed",
            icon=":material/casino:",
            on_click=actions.submit,
            args=(studio, replace(record.request, seed=-1)),
        )
        st.button(
            t("picture.start_from"),
            key="start_from",
            icon=START_ICON,
            on_click=actions.send_to_form,
            args=(studio, record),
        )
        if st.button(t("picture.history"), key="open_history", icon=":material/photo_library:"):
            st.switch_page(HISTORY_PAGE, query_params={"image": record.id})


def download(studio: Studio, record: ImageRecord, key: str) -> None:
    """The file as it is on disk, metadata and all; read only when asked for."""
    st.download_button(
        t("picture.download"),
        data=lambda: studio.history.file(record.id).read_bytes(),
        file_name=record.file.rsplit("/", 1)[-1],
        mime=f"image/{record.format}",
        key=key,
        icon=":material/download:",
        on_click="ignore",
        disabled=record.missing,
    )
