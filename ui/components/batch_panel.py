"""Show many prompts as one job, pasted or from a file, and what they will make before they are queued."""

from __future__ import annotations

import html

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from ui import formats
from ui.actions import generate as generate_actions
from ui.i18n import t
from ui.state import form as form_state
from ui.state import session

FILES = ("txt", "csv", "tsv")
SHOWN = 4  # prompts of the preview
TEXT, FILE = "batch_text", "batch_file"


def draw(studio: Studio) -> None:
    """Show the panel. What is in it is checked at every run, so the button never leads to an error card."""
    form_state.give_widget(TEXT, form_state.batch_text())
    st.text_area(t("batch.text"), key=TEXT, height=104, placeholder=t("batch.hint"), on_change=_keep)
    file = st.file_uploader(t("batch.file"), FILES, key=FILE)
    names = " ".join(f"`__{name}__`" for name in studio.requests.wildcards())
    st.caption(t("batch.wildcards", names=formats.literal(names), folder=studio.settings.batch.wildcards))
    text = form_state.batch_text()
    if file is not None:
        _offer(studio, file.getvalue(), file.name)
    elif text.strip():
        _offer(studio, text, "batch")


def summary() -> str:
    """Return how many prompts there are, for the header of the panel."""
    count = sum(bool(line.strip()) for line in form_state.batch_text().splitlines())
    return t("summary.prompts", count=count) if count else ""


def _keep() -> None:
    form_state.set_batch_text(str(st.session_state.get(TEXT) or ""))


def _offer(studio: Studio, given: bytes | str, source: str) -> None:
    """Show how many images, the first of their prompts, and the button; or what is wrong, row by row."""
    try:
        request = studio.requests.new_batch(given, form_state.form_values(), source)
    except StudioError as error:
        st.html(f'<div class="zd-problem" role="alert"><p>{html.escape(error.message(session.language()))}</p></div>')
        return
    shown = "\n".join(f"{single.seed}: {single.prompt}" for single in request.per_image_requests()[:SHOWN])
    st.caption(t("batch.example") if form_state.form_values()["generation.seed"] < 0 else t("batch.begins"))
    st.code(shown, language=None, wrap_lines=True)
    st.button(
        t("batch.button", count=request.num_images),
        key="queue_batch",
        type="primary",
        width="stretch",
        icon=":material/playlist_add:",
        on_click=generate_actions.submit_batch,
        args=(studio, given, source),
    )
