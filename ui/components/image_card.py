"""Show images that were found, as cards or as a table, with what can be done with one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from core.config.options import SCHEMA
from core.studio import Studio
from core.types import HistoryPage, ImageRecord
from ui import formats
from ui.actions import annotate, studio_calls
from ui.actions import generate as generate_actions
from ui.actions import input_images as input_actions
from ui.components import custom_components
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import history as history_state
from ui.state import session

HISTORY_PAGE = "views/history.py"
GENERATE_PAGE = "views/generate.py"
START_ICON = ":material/add_photo_alternate:"


def brief(record: ImageRecord) -> None:
    """Show seed, size and time, always visible; a click copies one."""
    total = formats.seconds(sum(record.timings.values()))
    rows = [
        (t("fact.seed"), str(record.request.seed), str(record.request.seed)),
        (t("fact.size"), formats.pixels(record.width, record.height), f"{record.width}x{record.height}"),
        (t("fact.time"), total, total),
    ]
    custom_components.facts(rows, t("fact.copy"), t("fact.copied"), key="facts")


def facts(record: ImageRecord, key: str = "facts") -> None:
    """Show seed, size, steps, guidance, times and memory; a click on one copies it."""
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
    return t("fact.peak_cpu") if str(record.effective.get("model.device", "")).startswith("cpu") else t("fact.peak")


def _known(record: ImageRecord, name: str) -> str:
    """Return a field of the request as text; an imported image may not tell it."""
    value = record.known(name)
    return t("fact.unknown") if value is None else str(value)


def _steps(record: ImageRecord) -> str:
    """As asked for; over an image, how many of them were run, and those of a second pass."""
    asked, effective = _known(record, "num_inference_steps"), record.effective
    parts = [f"{effective['img2img.steps']} / {asked}" if "img2img.steps" in effective else asked]
    return " + ".join([*parts, *([str(effective["hires.steps_run"])] if "hires.steps_run" in effective else [])])


def buttons(studio: Studio, record: ImageRecord) -> None:
    """Show what can be done with the image on the stage, in one row."""
    favourite = record.marks.favourite
    with st.container(
        horizontal=True, horizontal_alignment="center", vertical_alignment="center", key="image_buttons"
    ):
        _icon(
            "favorite",
            t("image.favorite"),
            "stage_favorite",
            annotate.toggle_favourite,
            studio,
            record.id,
            on=favourite,
        )
        _icon("tune", t("history.use"), "use_parameters", generate_actions.use_parameters, record, label=t("image.use_short"))
        again = replace(record.request, seed=-1)
        _icon(
            "casino",
            t("image.new_seed"),
            "new_seed",
            studio_calls.submit,
            studio,
            again,
            label=t("image.new_seed_short"),
        )
        _icon(
            "push_pin", t("image.reuse_seed"), "reuse_seed", form_state.fill_form, {"generation.seed": record.request.seed}
        )
        edits = input_actions.edits(studio)
        _icon("add_photo_alternate", start_words(studio), "start_from", input_actions.send_to_form, studio, record,
              label=t("image.edit_again") if edits else t("image.start_from_short"))  # fmt: skip
        if input_actions.takes_further(studio):
            _icon("library_add", t("image.refer_to"), "refer_to", input_actions.refer_to, studio, record,
                  label=t("image.refer_to_short"))  # fmt: skip
        _icon("hd", t("image.hires"), "stage_hires", generate_actions.hires, studio, record, label=t("section.hires"))
        _icon("zoom_out_map", t("image.upscale"), "stage_upscale", input_actions.upscale, studio, record)
        download(studio, record, "download", quiet=True)
        with st.popover(
            t("image.facts"),
            icon=":material/info:",
            key="stage_facts",
            help=t("image.facts"),
            type="tertiary",
            on_change="rerun",
        ) as panel:
            if panel.open:
                facts(record, "all_facts")
                st.code(record.request.prompt, language=None, wrap_lines=True)
                if record.request.template:
                    st.caption(t("detail.template"))
                    st.code(record.request.template, language=None, wrap_lines=True)
        if st.button(
            t("image.history"),
            key="open_history",
            icon=":material/photo_library:",
            help=t("image.history"),
            type="tertiary",
        ):
            st.switch_page(HISTORY_PAGE, query_params={"image": record.id})
        _icon("delete", t("history.trash"), "stage_trash", annotate.trash, studio, [record.id])


def start_words(studio: Studio) -> str:
    """Return what the button says that makes an image the source image: with a model that edits, that it is edited again."""
    return t("image.edit_again") if input_actions.edits(studio) else t("image.start_from")


def _icon(
    icon: str, hint: str, key: str, act: Callable[..., Any], *arguments: object, on: bool = False, label: str = ""
) -> None:
    """Show a button of an icon, named by its tooltip, with a short label where there is room for one."""
    st.button(
        label or hint, key=key, icon=f":material/{icon}:", help=hint, type="primary" if on else "tertiary", on_click=act,
        args=arguments,
    )  # fmt: skip


def download(studio: Studio, record: ImageRecord, key: str, quiet: bool = False) -> None:
    """Show the file as it is on disk, metadata and all; read only when asked for."""
    st.download_button(
        t("image.download"),
        data=lambda: studio.history.file(record.id).read_bytes(),
        file_name=record.file.rsplit("/", 1)[-1],
        mime=f"image/{record.format}",
        key=key,
        icon=":material/download:",
        help=t("image.download") if quiet else None,
        type="tertiary" if quiet else "secondary",
        on_click="ignore",
        disabled=record.missing,
    )


SHOWN = ("image", "when", "prompt", "model", "size", "steps", "guidance", "seed", "seconds", "rating", "tags")
ALWAYS = ("image", "prompt")
SEED_WIDTH = 150  # pixels: the longest seed has 16 digits


def render_table(found: HistoryPage) -> None:
    """Draw the rows: a click on one opens the image, a tick selects it. A heading sorts this page, the toolbar everything."""
    frame = frame_of(found.records)
    with st.container(horizontal=True, vertical_alignment="center", key="table_bar"):
        with st.popover(t("history.columns"), icon=":material/view_column:", key="columns"):
            names = list(frame.columns)
            shown = st.multiselect(
                t("history.columns"), names, list(SHOWN), key=session.labelled("history_columns"), format_func=column_name,
                label_visibility="collapsed",
            )  # fmt: skip
            vary = st.toggle(t("history.vary"), value=True, key="history_vary")
        frame, equal = without_equal(frame[shown]) if vary else (frame[shown], {})
        if equal:
            custom_components.quiet(
                t("history.equal", what=" · ".join(f"{column_name(k)}: {v or '–'}" for k, v in equal.items()))
            )
    key = f"table_{len(history_state.cursors())}_{history_state.selection_version()}"
    event = st.dataframe(
        frame, hide_index=True, column_config=_config(frame), on_select="rerun", selection_mode=["multi-row", "single-cell"],
        height=560, row_height=56, key=key, placeholder=t("fact.unknown"),
    )  # fmt: skip
    selection = event.selection
    selected = tuple(found.records[row].id for row in selection.rows if row < len(found.records))
    cell = selection.cells[0][0] if selection.cells else None
    clicked = found.records[cell].id if cell is not None and cell < len(found.records) else None
    before = history_state.table_choice(key), history_state.table_cell()
    if before == (selected, clicked):
        return
    history_state.set_table_cell(clicked)
    if history_state.table_choice(key) != selected:
        history_state.set_table_choice(key, selected)
    if clicked is not None and clicked != before[1]:
        history_state.select_image(clicked)
    st.rerun()


def frame_of(records: tuple[ImageRecord, ...]) -> pd.DataFrame:
    """Return one row an image: what is said of each, and every advanced option under its key."""
    columns = {
        "image": [custom_components.thumbnail_url(record.id) for record in records],
        "when": [formats.moment(record.created_at) for record in records],
        "prompt": [record.known("prompt") for record in records],
        "negative": [record.known("negative_prompt") for record in records],
        "model": [record.known("model") for record in records],
        "size": [formats.pixels(record.width, record.height) for record in records],
        "steps": [record.known("num_inference_steps") for record in records],
        "guidance": [record.known("cfg_scale") for record in records],
        "seed": [record.known("seed") for record in records],
        "seconds": [record.seconds for record in records],
        "rating": [record.marks.rating for record in records],
        "favourite": [record.marks.favourite for record in records],
        "tags": [", ".join(record.marks.tags) for record in records],
        "note": [record.marks.note for record in records],
        "format": [record.format for record in records],
        "bytes": [record.bytes for record in records],
    }
    options = {
        option.key: [formats.plain(record.request.options.get(option.key)) for record in records]
        for option in SCHEMA.request_options()
    }
    return pd.DataFrame({**columns, **options})


def without_equal(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the columns that differ somewhere, and what all rows have in common; one row alone has nothing to compare."""
    if len(frame) < 2:
        return frame, {}
    equal = [name for name in frame.columns if name not in ALWAYS and frame[name].nunique(dropna=False) == 1]
    return frame.drop(columns=equal), {name: formats.plain(frame[name].iloc[0].item()
                                       if hasattr(frame[name].iloc[0], "item") else frame[name].iloc[0])
                                       for name in equal}  # fmt: skip


def column_name(name: str) -> str:
    """Return the heading of a column, in the page's language."""
    option = SCHEMA.options.get(name)
    return localized(option.label) if option else t(f"column.{name}")


def _config(frame: pd.DataFrame) -> dict:
    config: dict = {name: st.column_config.Column(column_name(name)) for name in frame.columns}
    kinds = {
        "image": st.column_config.ImageColumn(t("column.image"), width="small"),
        "prompt": st.column_config.TextColumn(t("column.prompt"), width="large"),
        "seconds": st.column_config.NumberColumn(t("column.seconds"), format="%.1f"),
        "seed": st.column_config.NumberColumn(t("column.seed"), format="%d", width=SEED_WIDTH),
        "bytes": st.column_config.NumberColumn(t("column.bytes"), format="bytes"),
    }
    return {**config, **{name: kind for name, kind in kinds.items() if name in frame.columns}}
