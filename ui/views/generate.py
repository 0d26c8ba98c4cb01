"""The page on which pictures are made. Picture first: the form at its left, the options under the form."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import CONTROL, ModelInfo
from ui import actions, prompts, resources, state
from ui.components import (
    batch_panel,
    control_panel,
    input_card,
    lora_field,
    parameter_panel,
    prompt_field,
    reload_question,
    result,
    settings_yaml,
    sizes,
    welcome,
)
from ui.i18n import t


def page() -> None:
    studio = resources.studio()
    actions.open_form(studio)
    state.put_job_in_address()
    library = prompts.library_for(state.form()["model.id"], studio.settings.configs / "prompts")
    with st.container(key="darkroom"):
        with st.container(key="ask"):
            prompt_field.draw(studio)
            reload_question.draw(studio)
        with st.container(key="stage"):
            result.draw(studio, lambda: welcome.draw(studio, library))
        with st.container(key="knobs"):
            prompt_field.ideas(library)
            model = _model(studio)
            prompt_field.negative(library, model)
            if _controlled(model):
                control_panel.draw(studio)
            if model is not None:
                sizes.draw(studio.settings.ui.size_presets, model)
            prompt_field.basic(studio, model)
            prompt_field.model_choice(studio)
            input_card.draw(studio, model)
            batch_panel.draw(studio)
            st.button(
                t("check.button"),
                key="quick_check",
                icon=":material/fact_check:",
                help=t("check.help"),
                width="stretch",
                on_click=actions.quick_check,
                args=(studio,),
            )
            with st.expander(t("options.title"), icon=":material/tune:", key="advanced"):
                own = {"lora.use": partial(lora_field.draw, studio, model)}
                elsewhere = {input_card.GROUP, *({control_panel.GROUP} if _controlled(model) else ())}
                parameter_panel.advanced(
                    studio.settings, studio.worker.status(), model.cannot if model else {}, own, elsewhere
                )
            settings_yaml.draw(studio)
    state.keep_form()


def _controlled(model: ModelInfo | None) -> bool:
    return model is not None and CONTROL in model.inputs


def _model(studio: Studio) -> ModelInfo | None:
    """The chosen model; None, with the reason on the page, when there is no such model any more."""
    try:
        return studio.catalog.find(state.form()["model.id"])
    except StudioError as error:
        st.warning(error.message(state.language()))
        return None


page()
