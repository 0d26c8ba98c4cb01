"""The prompt, the button that makes a picture of it, and words to choose from.

The field is not in a form: in one, a click on a word of the library would lose what was typed but not yet sent. Outside,
the field sends its text when it is left, and Ctrl+Enter reaches the button once, with the text (tests/browser holds this).
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.config.options import SCHEMA
from core.studio import Studio
from core.types import ModelInfo
from ui import actions, prompts, state
from ui.components import parameter_panel, schedule
from ui.i18n import said, t

PROMPT = "generation.prompt"
NEGATIVE = "generation.negative_prompt"


def draw(studio: Studio) -> None:
    """The prompt and its button."""
    option = SCHEMA.options[PROMPT]
    st.text_area(said(option.label), key=state.seed_widget(PROMPT), height=128, placeholder=t("generate.prompt_hint"))
    st.button(
        t("generate.button"),
        key="generate",
        type="primary",
        width="stretch",
        icon=":material/photo_camera:",
        shortcut="Ctrl+Enter",
        on_click=actions.generate,
        args=(studio,),
    )
    schedule.choice()


def ideas(library: prompts.Library | None) -> None:
    """Words by slot. A choice writes its words into the prompt, in the place of the ones chosen before."""
    if library is None:
        return
    with st.expander(t("generate.ideas"), icon=":material/lightbulb:", key="ideas"):
        names = {kind.id: said(kind.name) for kind in library.kinds}
        chosen = library.kinds[0].id
        if len(names) > 1:
            chosen = st.segmented_control(
                t("generate.kind"),
                list(names),
                format_func=names.get,
                default=chosen,
                required=True,
                key="idea_kind",
                label_visibility="collapsed",
            )
        kind = next(kind for kind in library.kinds if kind.id == chosen)
        write = _writer(library, kind)
        for slot in kind.slots:
            words = [said(word) for word in slot.words]
            st.pills(
                said(slot.name),
                range(len(words)),
                format_func=words.__getitem__,
                key=_slot_key(kind, slot),
                on_change=write,
            )


def _slot_key(kind: prompts.Kind, slot: prompts.Slot) -> str:
    return f"slot_{kind.id}_{slot.id}"


def _writer(library: prompts.Library, kind: prompts.Kind) -> Callable[[], None]:
    def write() -> None:
        picked = {slot.id: st.session_state.get(_slot_key(kind, slot)) for slot in kind.slots}
        chosen = {slot: number for slot, number in picked.items() if number is not None}
        words = prompts.compose(library, kind, chosen, state.language())
        separator = library.separator[state.language()]
        prompt = prompts.replace_words(state.form()[PROMPT], state.slot_text(), words, separator)
        state.fill_form({PROMPT: prompt})
        state.set_slot_text(words)

    return write


def negative(library: prompts.Library | None, model: ModelInfo | None) -> None:
    """The negative prompt, folded; a ready one at a click, and a plain warning where it can't act."""
    reason = model.cannot.get(NEGATIVE) if model else None
    if reason is not None:
        st.caption(said(reason))
        return
    filled = bool(state.form()[NEGATIVE].strip())
    with st.expander(said(SCHEMA.options[NEGATIVE].label), icon=":material/block:", key="negative", expanded=filled):
        st.text_area(
            said(SCHEMA.options[NEGATIVE].label),
            key=state.seed_widget(NEGATIVE),
            height=68,
            label_visibility="collapsed",
            help=said(SCHEMA.options[NEGATIVE].help),
        )
        if library:
            st.button(
                t("generate.ready_negative"),
                key="ready_negative",
                on_click=lambda: state.fill_form({NEGATIVE: said(library.negative)}),
            )
    if state.form()[NEGATIVE].strip() and (state.form()[state.CFG] or 1) <= 1:
        st.warning(t("generate.negative_idle"), icon=":material/info:")


def model_choice(studio: Studio) -> None:
    """Which model draws; one that can't be used here says why."""
    models = {
        model.id: model for model in studio.catalog.models() if model.problem is None or model.sources or model.path
    }
    present = state.form()["model.id"]
    ids = list(models) if present in models else [*models, present]
    key = state.seed_widget("model.id")
    names = {model_id: said(models[model_id].name) if model_id in models else model_id for model_id in ids}
    if len(ids) > 1:
        st.selectbox(
            said(SCHEMA.options["model.id"].label),
            ids,
            format_func=names.get,
            key=key,
            help=said(SCHEMA.options["model.id"].help),
            on_change=actions.change_model,
            args=(studio,),
        )
    model = models.get(state.form()["model.id"])
    if model and model.problem:
        st.warning(model.problem.message(state.language()), icon=":material/info:")
    elif model:
        st.caption(said(model.description))


def basic(studio: Studio, model: ModelInfo | None) -> None:
    """Steps, guidance, seed and number of pictures, as far as the model goes."""
    options = {key: parameter_panel.bounded(option, model) for key, option in SCHEMA.options.items()}
    left, right = st.columns(2)
    with left:
        parameter_panel.field(options["generation.num_inference_steps"])
    with right:
        parameter_panel.field(options["generation.num_images"])
    parameter_panel.field(options[state.CFG])
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    with left:
        parameter_panel.field(options["generation.seed"], placeholder=t("generate.random"))
    middle.button(
        t("generate.random"),
        key="seed_random",
        width="stretch",
        on_click=lambda: state.fill_form({"generation.seed": -1}),
    )
    last = last_seed(studio)
    right.button(
        t("generate.reuse"),
        key="seed_reuse",
        width="stretch",
        disabled=last is None,
        help=t("generate.reuse_help"),
        on_click=lambda: state.fill_form({"generation.seed": last}),
    )


def last_seed(studio: Studio) -> int | None:
    """Of the job that was submitted last."""
    for job in studio.queue.recent(1):
        return job.request.seed
    return None
