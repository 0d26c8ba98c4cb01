"""Import images: read the parameters of one file into the form, or add files to the history."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from core.config.options import SCHEMA
from core.errors import StudioError
from core.studio import Studio
from core.types import FoundParameters
from ui import formats
from ui.actions import form as form_actions
from ui.components import error_card, image_card
from ui.components.history_detail import Row, table
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import history as history_state
from ui.state import session
from ui.state import session as page_state

KINDS = ("png", "jpg", "jpeg", "webp")
MOST_SHOWN = 12
SECONDS_A_DRAW = 0.3


def button() -> None:
    """Show the button that opens the dialog."""
    st.button(
        t("import.button"), key="open_import", icon=":material/upload_file:", type="tertiary",
        on_click=history_state.set_importing, args=(True,),
    )  # fmt: skip


def render(studio: Studio) -> None:
    """Show the dialog, while it is open. Dropped files show their parameters at once; nothing is kept until it is asked for."""
    if history_state.importing():
        st.dialog(t("import.title"), width="large", on_dismiss=_dismissed)(_content)(studio)


def _content(studio: Studio) -> None:
    run = history_state.import_run()
    files = st.file_uploader(
        t("import.drop"), KINDS, accept_multiple_files=True, key="import_files", disabled=run is not None
    )
    with st.empty().container():  # what stands there is gone at once when an import begins
        if run is None:
            _offer(studio, files)
        else:
            _go_on(studio, run, files)


def _offer(studio: Studio, files: Sequence[UploadedFile]) -> None:
    """Show what the files tell, and the buttons that import them, or a folder."""
    if files:
        st.button(
            t("import.take_in", count=len(files)), key="take_in", type="primary", on_click=history_state.start_import,
            args=(len(files),),
        )  # fmt: skip
    for number, file in enumerate(files[:MOST_SHOWN]):
        _parameters(studio, file.name, studio.images.read_parameters(file.getvalue()), number)
    if not session.is_admin():  # what a folder of this machine holds is nobody else's business
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        folder = st.text_input(t("import.folder"), key="import_folder")
        if st.button(t("import.take_in_folder"), key="take_in_folder") and folder.strip():
            _begin_folder(studio, Path(folder.strip()))


def _begin_folder(studio: Studio, folder: Path) -> None:
    try:
        paths = studio.images.files_in(folder)
    except StudioError as error:
        _tell(history_state.ImportRun(0, errors=[error]))
    history_state.start_import(len(paths), paths)
    _draw_again()


def _go_on(studio: Studio, run: history_state.ImportRun, files: Sequence[UploadedFile]) -> None:
    """Import for a moment, then draw again: between two draws a click on Cancel is heard."""
    if run.over:
        _tell(run)
    words = t("import.progress", done=run.done, total=run.total)
    st.progress(run.done / run.total, words)
    st.button(t("import.cancel"), key="cancel_import", icon=":material/close:", on_click=history_state.cancel_import)
    until = time.monotonic() + SECONDS_A_DRAW
    while run.done < run.total and time.monotonic() < until:
        try:
            if run.paths:
                _, is_new = studio.images.import_file(run.paths[run.done])
            else:
                file = files[run.done]
                _, is_new = studio.history.import_image(file.getvalue(), file.name)
            run.new += is_new
        except StudioError as error:
            run.errors.append(error)
        run.done += 1
    _draw_again()


def _parameters(studio: Studio, name: str, found: FoundParameters | None, number: int) -> None:
    """Show one file: what can be used, with a button that does it, and what has no equivalent."""
    if found is None or not found.program:
        st.text(t("import.not_an_image", name=name) if found is None else t("import.says_nothing", name=name))
        return
    st.text(t("import.by", name=name, program=found.program))
    rows = [Row(localized(SCHEMA.options[key].label), formats.plain(value)) for key, value in found.values.items()]
    st.html(table([("", rows)], (t("detail.parameter"), t("detail.value"))))
    if st.button(t("history.use"), key=f"use_found_{number}", icon=":material/tune:"):
        _use(studio, found)
    if found.unused:
        with st.expander(t("import.unused", count=len(found.unused)), key=f"unused_{number}"):
            rows = [Row(key, value) for key, value in found.unused.items()]
            st.html(table([("", rows)], (t("detail.parameter"), t("detail.value"))))


def _use(studio: Studio, found: FoundParameters) -> None:
    """Into the form, over the model's own settings; without a model that is here the selected one stays."""
    form_actions.open_form(studio)
    named = found.values.get("model.id") in {model.id for model in studio.catalog.models()}
    values = dict(found.values) if named else {**found.values, "model.id": form_state.form()["model.id"]}
    try:
        request = studio.requests.new(values, found.program)
    except StudioError as error:
        error_card.render(error, "use_found")
        return
    history_state.set_importing(False)
    form_state.fill_form_from(request)
    if not named:
        form_actions.say_model_stays(studio)
    st.switch_page(image_card.GENERATE_PAGE)


def _draw_again() -> NoReturn:
    """Draw the dialog alone where a click in it has led here, else the page, which draws the dialog."""
    context = get_script_run_ctx()
    st.rerun(scope="fragment" if context is not None and context.fragment_ids_this_run else "app")


def _dismissed() -> None:
    """Closing the dialog ends an import; what is there stays."""
    run = history_state.import_run()
    if run is not None:
        run.cancelled = True
        _close(run)
    history_state.set_importing(False)


def _tell(run: history_state.ImportRun) -> NoReturn:
    _close(run)
    st.rerun()


def _close(run: history_state.ImportRun) -> None:
    """Close the dialog and say on the page what came of it, with a card that lists the files that failed."""
    history_state.set_importing(False)
    history_state.renew_history()
    page_state.set_errors(run.errors)
    known = run.done - run.new - len(run.errors)
    words = t("import.done", new=run.new, known=known, refused=len(run.errors))
    st.toast(t("import.stopped", done=words, total=run.total) if run.cancelled else words, icon=":material/upload_file:")
