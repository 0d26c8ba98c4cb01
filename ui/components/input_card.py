"""A picture to start from: chosen, pasted or sent from the history; how much of it is drawn anew, and where."""

from __future__ import annotations

import streamlit as st

from core.config.options import SCHEMA
from core.errors import StudioError
from core.studio import Studio
from core.types import IMAGE, MASK, ModelInfo
from ui import actions, state
from ui.components import custom_components, parameter_panel
from ui.i18n import t

FILES = ("png", "jpg", "jpeg", "webp")
HISTORY_PAGE = "views/history.py"
GROUP = "img2img"
STRENGTH = f"{GROUP}.denoising_strength"


def draw(studio: Studio, model: ModelInfo | None) -> None:
    """The card, folded until there is a picture."""
    image, icon = state.sources().inputs.get(IMAGE), ":material/add_photo_alternate:"
    with (
        st.container(key="inputs"),
        # another key for another picture: a card that is on the page already would stay as it is folded
        st.expander(t("inputs.title"), image is not None, icon=icon, key=f"inputs_{state.sources_version()}"),
    ):
        if model is not None and IMAGE not in model.inputs:
            st.caption(t("inputs.not_here"))
            if image is not None:
                _remove()
        elif image is None:
            _choose(studio)
        else:
            _chosen(studio, image)


def _choose(studio: Studio) -> None:
    key = f"input_file_{state.sources_version()}"

    def uploaded() -> None:
        file = st.session_state[key]
        if file is not None:
            actions.start_from(studio, file.getvalue(), file.name)

    st.file_uploader(t("inputs.upload"), FILES, key=key, on_change=uploaded)
    custom_components.paste(
        t("inputs.paste"), state.language(), key="paste_input", on_kept=lambda kept: actions.use(studio, kept)
    )


def _chosen(studio: Studio, image: str) -> None:
    try:
        size = studio.input_images.size(image)
    except StudioError as error:
        st.warning(error.message(state.language()))
        return _remove()
    mask = state.sources().inputs.get(MASK, "")
    words = {name: t(f"inputs.board.{name}") for name in BOARD}
    custom_components.board(
        image, mask, size, words, state.language(), key=f"board_{state.sources_version()}", on_mask=state.set_mask
    )
    st.caption(t("inputs.mask_on") if mask else t("inputs.mask_off"))
    parameter_panel.field(SCHEMA.options[STRENGTH])
    if steps := actions.steps(studio):
        st.caption(t("inputs.steps", run=steps[0], steps=steps[1]))
    with st.container(horizontal=True, key="input_buttons"):
        _remove()
        parent = state.sources().parent
        if parent and st.button(t("inputs.parent"), key="open_parent", icon=":material/photo_library:"):
            st.switch_page(HISTORY_PAGE, query_params={"image": parent})


BOARD = ("tools", "paint", "erase", "size", "undo", "invert", "clear", "saving", "failed")


def _remove() -> None:
    st.button(t("inputs.remove"), key="remove_input", icon=":material/close:", on_click=state.draw_from_text)
