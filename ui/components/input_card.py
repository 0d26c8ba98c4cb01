"""Show an image to start from (uploaded, pasted or sent from the history), its denoising strength and its mask."""

from __future__ import annotations

import html

import streamlit as st

from core.config.options import SCHEMA
from core.errors import StudioError
from core.studio import Studio
from core.types import IMAGE, MASK, REFERENCES, ModelInfo
from ui import formats
from ui.actions import input_images as input_actions
from ui.components import custom_components, parameter_panel
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import input_images as input_state
from ui.state import session

FILES = ("png", "jpg", "jpeg", "webp")
HISTORY_PAGE = "views/history.py"
GROUP = "img2img"
STRENGTH = f"{GROUP}.denoising_strength"
AREA, BOXES = "inpaint.area", "inpaint.boxes"
DETECTOR, CONFIDENCE = "inpaint.detector", "inpaint.detector_confidence"
MASK_FIELDS = ("inpaint.mask_blur", "inpaint.mask_grow", "inpaint.fill", "inpaint.fill_color")
SIDES = ("outpaint.left", "outpaint.right", "outpaint.top", "outpaint.bottom", "outpaint.ratio", "outpaint.overlap")


def render(studio: Studio, model: ModelInfo | None) -> None:
    """Show the field for a source image; with one, how much of it is regenerated and where the mask is painted."""
    image = input_state.sources().inputs.get(IMAGE)
    with st.container(key="inputs"):
        if model is not None and IMAGE not in model.inputs:
            st.caption(t("inputs.not_here"))
            if image is not None:
                _remove()
        elif image is None:
            _choose(studio)
        else:
            _selected(studio, image)
            if model is not None and model.edits:
                _references(studio)


def _choose(studio: Studio) -> None:
    key = f"input_file_{input_state.sources_version()}"

    def uploaded() -> None:
        file = st.session_state[key]
        if file is not None:
            input_actions.start_from(studio, file.getvalue(), file.name)

    st.file_uploader(t("inputs.upload"), FILES, key=key, on_change=uploaded)
    custom_components.paste(
        t("inputs.paste"), session.language(), key="paste_input", on_kept=lambda kept: input_actions.use(studio, kept)
    )


def paste_anywhere(studio: Studio) -> None:
    """Take an image that is pasted while the panel is closed."""
    with st.container(key="paste_closed"):
        custom_components.paste("", session.language(), key="paste_input", on_kept=lambda kept: input_actions.use(studio, kept))


def _selected(studio: Studio, image: str) -> None:
    try:
        width, height = studio.input_images.size(image)
    except StudioError as error:
        st.warning(formats.literal(error.message(session.language())))
        return _remove()
    masked, boxes = MASK in input_state.sources().inputs, bool(form_state.form_value(BOXES))
    area = t("inputs.mask_on") if masked else t("inputs.boxes_on") if boxes else t("inputs.mask_off")
    with st.container(horizontal=True, vertical_alignment="center", key="source_row"):
        st.html(
            f'<img class="zd-source" src="{custom_components.input_url(image)}" alt="{html.escape(t("inputs.source"))}">',
            width=72,
        )
        with st.container(key="source_text"):
            st.caption(f"{formats.pixels(width, height)} · {area}")
    with st.container(horizontal=True, key="input_buttons"):
        st.button(
            t("inputs.paint"),
            key="paint_mask",
            icon=":material/brush:",
            on_click=generate_state.set_stage_tab,
            args=(generate_state.MASK,),
        )
        _remove()
        parent = input_state.sources().parent
        if parent and st.button(t("inputs.parent"), key="open_parent", icon=":material/photo_library:"):
            st.switch_page(HISTORY_PAGE, query_params={"image": parent})
    parameter_panel.field(SCHEMA.options[STRENGTH])
    _inpaint(studio, masked)
    _outpaint(studio)
    if steps := input_actions.steps(studio):
        run, of = steps
        st.caption(t("inputs.steps_of_all", run=run, steps=of) if boxes else t("inputs.steps", run=run, steps=of))


def _references(studio: Studio) -> None:
    """Show the further images that an edit by instruction refers to, in their order."""
    key = f"reference_files_{input_state.sources_version()}"
    most = len(REFERENCES)

    def uploaded() -> None:
        input_actions.keep_references(studio, [(file.getvalue(), file.name) for file in st.session_state[key]])

    st.file_uploader(t("inputs.more", most=most), FILES, accept_multiple_files=True, key=key, on_change=uploaded)
    custom_components.paste(
        t("inputs.paste_further"), session.language(), key="paste_reference",
        on_kept=lambda kept: input_actions.add_references(studio, [kept]),
    )  # fmt: skip
    further = input_state.edit_images()[1:]
    for position, digest in enumerate(further, 1):
        _reference(studio, position, digest)
    if further:
        st.button(
            t("inputs.remove_further"), key="remove_references", icon=":material/close:",
            on_click=input_actions.remove_references, args=(range(1, 1 + most),),
        )  # fmt: skip


def _reference(studio: Studio, position: int, digest: str) -> None:
    """Show a further image, with what moves it before the one above and what takes it out."""
    name = t(f"lineage.{REFERENCES[position - 1]}")
    with st.container(horizontal=True, vertical_alignment="center", key=f"reference_{position}"):
        st.html(
            f'<img class="zd-source" src="{custom_components.input_url(digest)}" alt="{html.escape(name)}">', width=72
        )
        st.caption(name)
        st.button(
            t("inputs.earlier"), key=f"earlier_{position}", icon=":material/arrow_upward:", help=t("inputs.earlier"),
            type="tertiary", on_click=input_actions.move_up, args=(studio, position),
        )  # fmt: skip
        st.button(
            t("inputs.remove_one"), key=f"remove_reference_{position}", icon=":material/close:",
            help=t("inputs.remove_one"), type="tertiary", on_click=input_actions.remove_references, args=((position,),),
        )  # fmt: skip


def _inpaint(studio: Studio, masked: bool) -> None:
    """Show how the masked part, or each box, is generated and blended in."""
    if masked:
        parameter_panel.field(SCHEMA.options[AREA], on_change=_fit_size, args=(studio,))
        parameter_panel.field(SCHEMA.options["inpaint.mask_invert"])
        st.button(
            t("inputs.painted_boxes"), key="painted_boxes", icon=":material/select_all:", help=t("inputs.painted_boxes_help"),
            on_click=input_actions.boxes_of_mask, args=(studio,),
        )  # fmt: skip
    else:
        _boxes(studio)
    boxes = bool(form_state.form_value(BOXES))
    if (masked and form_state.form_value(AREA) == "masked") or boxes:
        parameter_panel.field(SCHEMA.options["inpaint.padding"])
    values = form_state.form_values()
    for key in MASK_FIELDS if masked or boxes else ():
        if not parameter_panel.unmet(SCHEMA.options[key], values):
            parameter_panel.field(SCHEMA.options[key])


def _boxes(studio: Studio) -> None:
    """Show the boxes that are refined, as text."""
    option, key = SCHEMA.options[BOXES], session.labelled("refine_boxes")
    form_state.give_widget(key, ", ".join(form_state.form_value(BOXES)))

    def typed() -> None:
        parts = [part.strip() for part in st.session_state[key].split(",")]
        form_state.fill_form({BOXES: tuple(part for part in parts if part)})
        _fit_size(studio)

    st.text_input(
        localized(option.label),
        key=key,
        help=f"{localized(option.help)}\n\n`{BOXES}`",
        placeholder=t("inputs.boxes_hint"),
        on_change=typed,
    )
    if names := studio.requests.detectors():
        _detector(studio, list(names))


def _detector(studio: Studio, names: list[str]) -> None:
    """Find boxes with a detector file: which one, how sure it must be, and the button that puts them into the field."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="detector"):
        name = st.selectbox(localized(SCHEMA.options[DETECTOR].label), names, key="detector_name")
        option = SCHEMA.options[CONFIDENCE]
        confidence = st.slider(localized(option.label), 0.05, 1.0, float(option.default), step=0.05, key="detector_confidence")
        st.button(
            t("inputs.detect"), key="detect", icon=":material/frame_person:", on_click=input_actions.detect_boxes,
            args=(studio, name, confidence),
        )  # fmt: skip


def _outpaint(studio: Studio) -> None:
    """Show what is added around the source image; the size of the file follows."""
    with st.popover(t("inputs.outpaint"), icon=":material/crop_free:", key="outpaint"):
        for key in SIDES:
            parameter_panel.field(SCHEMA.options[key], on_change=_fit_size, args=(studio,))


def _fit_size(studio: Studio) -> None:
    """Give the form the size of the source image with what is added to it."""
    form_state.keep_form()
    input_actions.fit_size(studio)


def mask(studio: Studio, image: str) -> None:
    """Show the source image on the stage, with the mask that is painted on it at its own size."""
    try:
        size = studio.input_images.size(image)
    except StudioError as error:
        st.warning(formats.literal(error.message(session.language())))
        return
    painted = input_state.sources().inputs.get(MASK, "")
    words = {name: t(f"inputs.mask_editor.{name}") for name in MASK_EDITOR}
    custom_components.mask_editor(
        image, painted, input_actions.boxes_on_source(size), size, words, session.language(),
        key=f"mask_editor_{input_state.sources_version()}",
        on_mask=input_state.set_mask, on_boxes=lambda boxes: input_actions.draw_boxes(studio, boxes),
    )  # fmt: skip


MASK_EDITOR = (
    "tools", "paint", "erase", "box", "size", "undo", "invert", "clear", "clear_boxes", "saving", "failed", "box_hint",
    "mask_hint", "most",
)  # fmt: skip


def _remove() -> None:
    st.button(t("inputs.remove"), key="remove_input", icon=":material/close:", on_click=input_state.remove_sources)
