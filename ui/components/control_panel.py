"""Show the control image of a model with a ControlNet: given here, and shown at once as the ControlNet will see it."""

from __future__ import annotations

import streamlit as st

from core.config.options import SCHEMA
from core.errors import StudioError
from core.studio import Studio
from core.types import CONTROL
from ui import formats
from ui.actions import input_images as input_actions
from ui.components import parameter_panel
from ui.i18n import t
from ui.state import form as form_state
from ui.state import input_images as input_state
from ui.state import session

GROUP = "controlnet"
TYPES = ("png", "jpg", "jpeg", "webp")
_UPLOAD = "control_upload"


def draw(studio: Studio) -> None:
    """Show the field for the image, its options, and the preview."""
    st.file_uploader(
        t("control.image"),
        type=TYPES,
        key=_UPLOAD,
        help=t("control.image_help"),
        on_change=_take,
        args=(studio,),
    )
    options = {
        option.key.removeprefix(f"{GROUP}."): option for option in SCHEMA.panel("advanced") if option.group == GROUP
    }
    parameter_panel.field(options["preprocessor"])
    if form_state.form_value(options["preprocessor"].key) == "canny":
        left, right = st.columns(2)
        with left:
            parameter_panel.field(options["canny_low"])
        with right:
            parameter_panel.field(options["canny_high"])
    _preview(studio)
    for name in ("scale", "start", "end"):
        parameter_panel.field(options[name])


def _take(studio: Studio) -> None:
    given = st.session_state.get(_UPLOAD)
    input_actions.keep_control(studio, given.getvalue() if given else None, given.name if given else "")


def _preview(studio: Studio) -> None:
    """The control image of the form as it stands; what is wrong with it is said in its place."""
    if CONTROL not in input_state.control_inputs():
        st.caption(t("control.missing"))
        return
    try:
        request = input_actions.with_control(studio, studio.requests.new(form_state.form_values()))
        st.image(
            studio.requests.control_image(request), caption=t("control.seen"), width="stretch", output_format="PNG"
        )
    except StudioError as error:
        st.warning(formats.literal(error.message(session.language())), icon=":material/info:")
