"""X/Y plot on the Generate page: the image on the stage over the values of one or two options."""

from __future__ import annotations

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from ui import state
from ui.components import rerun
from ui.i18n import t


def draw(studio: Studio) -> None:
    """The axes and the button; a hint while no image is on the stage."""
    image_id = state.stage_image()
    try:
        record = studio.history.get(image_id) if image_id else None
    except StudioError:  # deleted meanwhile
        record = None
    if record is None:
        st.caption(t("vary.first"))
        return
    st.caption(t("vary.base", prompt=" ".join(record.request.prompt.split())[:60]))
    rerun.axes(studio, record)
