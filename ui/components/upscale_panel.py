"""Show the hires fix and the upscaling of the source image, with the resulting file size."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.config.options import GROUPS
from core.config.schema import Option
from core.studio import Studio
from core.types import WorkerStatus
from ui.actions import input_images as input_actions
from ui.components import parameter_panel
from ui.i18n import localized
from ui.state import form as form_state

GROUP = "upscale"
SIZED = ("upscale.mode", "upscale.by")  # the size of the file follows from these


def draw(studio: Studio, options: Sequence[Option], worker: WorkerStatus) -> None:
    """Show the fields of Hires. fix, then those of upscaling that have an effect."""
    parameter_panel.group([option for option in options if option.group != GROUP], worker)
    st.caption(localized(GROUPS[GROUP]))
    values = form_state.form_values()
    for option in options:
        if option.group != GROUP or parameter_panel.unmet(option, values):
            continue
        if option.key in SIZED:
            parameter_panel.field(option, on_change=_fit_size, args=(studio,))
        else:
            parameter_panel.field(option)


def _fit_size(studio: Studio) -> None:
    form_state.keep_form()
    input_actions.fit_size(studio)
