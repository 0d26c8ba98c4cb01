"""Images from elsewhere: what they say of themselves, to be used, and their way into the history."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.config.options import SCHEMA
from core.errors import StudioError
from core.studio import Studio
from core.types import FoundParameters
from ui import formats, state
from ui.components import error_card, image_card
from ui.components.history_parameters import Row, table
from ui.i18n import said, t

KINDS = ("png", "jpg", "jpeg", "webp")
MOST_SHOWN = 12


def button() -> None:
    """Opens the dialog."""
    st.button(
        t("import.button"), key="open_import", icon=":material/upload_file:", on_click=state.set_importing, args=(True,)
    )


def draw(studio: Studio) -> None:
    """The dialog, while it is open. Dropped files show their parameters at once; nothing is kept until it is asked for."""
    if state.importing():
        st.dialog(t("import.title"), width="large", on_dismiss=lambda: state.set_importing(False))(_content)(studio)


def _content(studio: Studio) -> None:
    files = st.file_uploader(t("import.drop"), KINDS, accept_multiple_files=True, key="import_files")
    if files and st.button(t("import.take_in", count=len(files)), key="take_in", type="primary"):
        _take_in(studio, [(file.name, file.getvalue()) for file in files])
    for number, file in enumerate(files[:MOST_SHOWN]):
        _parameters(studio, file.name, studio.images.read_parameters(file.getvalue()), number)
    if not state.is_admin():  # what a folder of this machine holds is nobody else's business
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        folder = st.text_input(t("import.folder"), key="import_folder")
        if st.button(t("import.take_in_folder"), key="take_in_folder"):
            _take_in_folder(studio, folder)


def _parameters(studio: Studio, name: str, found: FoundParameters | None, number: int) -> None:
    """One file: what can be used, with a button that does it, and what has no equivalent."""
    if found is None or not found.program:
        st.text(t("import.not_a_picture", name=name) if found is None else t("import.says_nothing", name=name))
        return
    st.text(t("import.by", name=name, program=found.program))
    rows = [Row(said(SCHEMA.options[key].label), formats.plain(value)) for key, value in found.values.items()]
    st.html(table([("", rows)], (t("detail.parameter"), t("detail.value"))))
    if st.button(t("history.use"), key=f"use_found_{number}", icon=":material/tune:"):
        _use(studio, found)
    if found.unused:
        with st.expander(t("import.unused", count=len(found.unused)), key=f"unused_{number}"):
            rows = [Row(key, value) for key, value in found.unused.items()]
            st.html(table([("", rows)], (t("detail.parameter"), t("detail.value"))))


def _use(studio: Studio, found: FoundParameters) -> None:
    """Into the form, over the model's own settings."""
    known = {model.id for model in studio.catalog.models()}
    values = {key: value for key, value in found.values.items() if key != "model.id" or value in known}
    try:
        request = studio.requests.new(values, found.program)
    except StudioError as error:
        error_card.draw(error, "use_found")
        return
    state.set_importing(False)
    state.fill_form_from(request)
    st.switch_page(image_card.GENERATE_PAGE)


def _take_in(studio: Studio, files: list[tuple[str, bytes]]) -> None:
    errors: list[StudioError] = []
    new = 0
    for name, data in files:
        try:
            new += studio.history.import_image(data, name)[1]
        except StudioError as error:
            errors.append(error)
    _tell(new, len(files) - new - len(errors), errors)


def _take_in_folder(studio: Studio, folder: str) -> None:
    if not folder.strip():
        return
    try:
        taken = studio.images.import_folder(Path(folder.strip()))
    except StudioError as error:
        _tell(0, 0, [error])
    else:
        _tell(len(taken.new), taken.known, list(taken.refused))


def _tell(new: int, known: int, errors: list[StudioError]) -> None:
    """Close the dialog and say on the page what came of it."""
    state.set_importing(False)
    state.renew_history()
    state.set_errors(errors[:5])
    st.toast(t("import.done", new=new, known=known, refused=len(errors)), icon=":material/upload_file:")
    st.rerun()
