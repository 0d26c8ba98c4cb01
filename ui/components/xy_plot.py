"""Show the X/Y/Z plot on the Generate page: the form's image over the values of one to three axes."""

from __future__ import annotations

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from ui.actions import generate as generate_actions
from ui.components import custom_components, rerun
from ui.i18n import t
from ui.state import generate_page as generate_state
from ui.state import session


def draw(studio: Studio) -> None:
    """Show the axes and the button; what keeps the form from being an image stands in their place."""
    try:
        base = generate_actions.single_request(studio)
    except StudioError as error:
        custom_components.quiet(error.message(session.language()))
        return
    st.caption(t("vary.base"))
    rerun.axes(studio, base, lambda selected: studio.reruns.sweep_request(base, selected, generate_state.terms()))
