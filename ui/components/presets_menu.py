"""Show presets at the top of the form: select one, and save, update, delete, export and import them."""

from __future__ import annotations

from pathlib import PurePath

import streamlit as st

from core.config.presets import Presets
from core.studio import Studio
from ui import formats
from ui.actions import form as preset_actions
from ui.i18n import t
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import session

SELECT, NAME, FILE = "preset_select", "preset_name", "preset_file"


def render(studio: Studio) -> None:
    """Show the list of presets and its menu, in their row."""
    presets = studio.presets
    names = presets.names()
    current = generate_state.preset() if generate_state.preset() in names else ""
    modified = bool(current) and preset_actions.is_modified(studio, current)
    form_state.give_widget(SELECT, current or None)
    st.selectbox(
        t("preset.modified") if modified else t("preset.label"), names, index=None, key=SELECT,
        placeholder=t("preset.none"), on_change=_selected, args=(studio,),
    )  # fmt: skip
    menu = st.popover(
        t("preset.menu"), icon=":material/more_vert:", key="preset_menu", help=t("preset.menu"), on_change="rerun"
    )
    if menu.open:
        with menu:
            _menu(studio, presets, current, modified)


def _selected(studio: Studio) -> None:
    name = st.session_state.get(SELECT)
    if name:
        preset_actions.apply_preset(studio, name)
    else:
        generate_state.set_preset("")


def _menu(studio: Studio, presets: Presets, current: str, modified: bool) -> None:
    own = bool(current) and presets.is_own(current)
    if not session.is_admin():
        st.caption(t("preset.yours"))
    name = st.text_input(t("preset.name"), key=NAME, placeholder=t("preset.name_hint"))
    st.button(
        t("preset.save"), key="preset_save", icon=":material/save:", width="stretch", on_click=preset_actions.save_preset,
        args=(studio, name),
    )  # fmt: skip
    if own:
        st.button(
            t("preset.update", name=formats.literal(current)), key="preset_update", disabled=not modified, width="stretch",
            icon=":material/sync:", on_click=preset_actions.save_preset, args=(studio, current),
        )  # fmt: skip
        st.button(
            t("preset.delete", name=formats.literal(current)), key="preset_delete", icon=":material/delete:", width="stretch",
            on_click=preset_actions.delete_preset, args=(studio, current),
        )  # fmt: skip
    _export(presets, current)
    file = st.file_uploader(t("preset.import"), ("yaml", "yml"), key=FILE)
    if file is not None:
        text = file.getvalue().decode("utf-8", errors="replace")
        st.button(
            t("preset.import_button", name=formats.literal(PurePath(file.name).stem)), key="preset_import", width="stretch",
            icon=":material/upload_file:", on_click=preset_actions.import_preset, args=(studio, text, PurePath(file.name).stem),
        )  # fmt: skip


def _export(presets: Presets, current: str) -> None:
    if current:
        st.download_button(
            t("preset.export", name=formats.literal(current)), data=lambda: presets.export(current), file_name=f"{current}.yaml",
            mime="application/yaml", key="preset_export", icon=":material/download:", width="stretch", on_click="ignore",
        )  # fmt: skip
