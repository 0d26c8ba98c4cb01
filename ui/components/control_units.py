"""Show the control images of the next image: one, or several units, each as the ControlNet will see it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.config.control_units import BALANCED, CANNY, DEPTH, MODES, MOST, POSE, PREPROCESSORS, TILE, ControlUnit
from core.config.options import SCHEMA
from core.errors import StudioError
from core.studio import Studio
from core.types import CONTROL, CONTROLS, GenerationRequest, ModelInfo
from ui import formats
from ui.actions import input_images as input_actions
from ui.components import parameter_panel
from ui.i18n import t
from ui.state import form as form_state
from ui.state import form as unit_state
from ui.state import input_images as input_state
from ui.state import session

TYPES = ("png", "jpg", "jpeg", "webp")
_ESTIMATED = "estimated_preview:"  # session key: what a depth map or pose was asked for


def render(studio: Studio, model: ModelInfo) -> None:
    """Show a row of fields for each unit, and a button for another one."""
    names = list(studio.requests.controlnets(model))
    units = unit_state.control_units()
    unit_state.give_units(units, studio.requests.controlnet_weight(model))
    for position, unit in enumerate(units):
        with st.container(border=True, key=f"control_unit_{position}"):
            _unit(studio, position, unit, names)
    if not names:
        st.caption(t("control.none", folder=formats.literal(studio.requests.controlnet_folder())))
    elif len(units) < MOST:
        st.button(
            t("control.add"), key="control_add", icon=":material/add:", on_click=unit_state.add_unit, args=(names[0],),
        )  # fmt: skip


def _unit(studio: Studio, position: int, unit: ControlUnit, names: list[str]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _select("name", position, list(dict.fromkeys([*names, unit.name])), t("control.network"))
        st.button(
            "", key=f"control_remove_{position}", icon=":material/delete:", help=t("control.remove"),
            on_click=unit_state.remove_unit, args=(position,),
        )  # fmt: skip
    st.file_uploader(
        t("control.unit_image"), type=TYPES, key=f"control_upload_{position}", help=t("control.unit_image_help"),
        on_change=_take, args=(studio, position),
    )  # fmt: skip
    _select("preprocessor", position, list(PREPROCESSORS), t("control.preprocessor"))
    if unit.preprocessor == CANNY:
        for name in ("low", "high"):
            _slide(name, position, 0, 255, 5, t(f"control.{name}"))
    if unit.preprocessor == TILE:
        _slide("rate", position, 1.0, 8.0, 0.5, t("control.rate"))
    _preview(studio, position, unit)
    _slide("weight", position, 0.0, 2.0, 0.05, t("control.weight"))
    _slide("window", position, 0.0, 1.0, 0.05, t("control.window"))
    types, modes = _types_and_modes(studio, unit)
    # What the ControlNet does not have is shown while it is set, as after a change of the ControlNet, so that it can be unset.
    if types or unit.kind:
        labels = {"": t("control.type_auto"), **{name: name for name in types or (unit.kind,)}}
        _select("kind", position, list(labels), t("control.type"), labels)
    if modes or unit.mode != BALANCED:
        _select("mode", position, list(MODES), t("control.mode"), {mode: t(f"control.mode_{mode}") for mode in MODES})


def _types_and_modes(studio: Studio, unit: ControlUnit) -> tuple[Sequence[str], Sequence[str]]:
    try:
        return studio.requests.union_types(unit.name), studio.requests.control_modes(unit.name)
    except StudioError:  # it is gone: the preview and the request say so
        return (), ()


def _select(field: str, position: int, choices: list[str], label: str, labels: dict[str, str] | None = None) -> None:
    shown = labels or {}
    st.selectbox(
        label, choices, key=unit_state.unit_key(position, field), on_change=unit_state.take_units,
        format_func=lambda value: shown.get(value, value),
    )  # fmt: skip


def _slide(field: str, position: int, low: float, high: float, step: float, label: str) -> None:
    st.slider(label, low, high, step=step, key=unit_state.unit_key(position, field), on_change=unit_state.take_units)


def _take(studio: Studio, position: int) -> None:
    given = st.session_state.get(f"control_upload_{position}")
    data, name = (given.getvalue(), given.name) if given else (None, "")
    input_actions.keep_control(studio, data, name, CONTROLS[position])


def _preview(studio: Studio, position: int, unit: ControlUnit) -> None:
    """Show what the unit will see of the form's images; a depth map or pose, which takes seconds, when it is asked for."""
    try:
        request = input_actions.control_request(studio)
        if unit.preprocessor in (DEPTH, POSE):
            made = _estimated(studio, position, unit.preprocessor, request)
        else:
            made = studio.requests.control_image(request, position)
        if made is not None:
            st.image(made, caption=t("control.seen"), width="stretch", output_format="PNG")
    except StudioError as error:
        st.caption(formats.literal(error.message(session.language())))


def _estimated(studio: Studio, position: int, kind: str, request: GenerationRequest) -> bytes | None:
    """Return the map that was asked for, from memory while images and size are the same; else show a button that asks."""
    wanted = f"{kind} {sorted(request.inputs.items())} {request.width}x{request.height}"
    kept: tuple[str, bytes] | None = st.session_state.get(f"{_ESTIMATED}{position}")
    if kept is not None and kept[0] == wanted:
        return kept[1]
    if not st.button(t(f"control.{kind}"), key=f"control_{kind}_{position}", icon=":material/blur_on:"):
        return None
    with st.spinner(t(f"control.making_{kind}")):
        made = studio.requests.control_image(request, position)
    st.session_state[f"{_ESTIMATED}{position}"] = wanted, made
    return made


GROUP = "controlnet"
_UPLOAD = "control_upload"


def render_single(studio: Studio) -> None:
    """Show the field for the image, its options, and the preview."""
    st.file_uploader(
        t("control.image"),
        type=TYPES,
        key=_UPLOAD,
        help=t("control.image_help"),
        on_change=_take_single,
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
    _preview_single(studio)
    for name in ("scale", "start", "end"):
        parameter_panel.field(options[name])


def _take_single(studio: Studio) -> None:
    given = st.session_state.get(_UPLOAD)
    input_actions.keep_control(studio, given.getvalue() if given else None, given.name if given else "")


def _preview_single(studio: Studio) -> None:
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
