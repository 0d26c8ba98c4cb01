"""Show the page on which images are generated: the form at the left, the stage in the middle, the session at the right."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import ModelInfo
from ui import formats, prompts, resources
from ui.actions import form as form_actions
from ui.components import accordions, custom_components, generate_foot, generate_form, input_card, live_draft, result
from ui.i18n import t
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import input_images as input_state
from ui.state import session


def page() -> None:
    studio = resources.studio()
    with studio.catalog.remembering():  # the model is asked for by most parts of the page, all of them by some
        _draw(studio)


def _draw(studio: Studio) -> None:
    form_actions.open_form(studio)
    if note := generate_state.take_note():
        st.toast(formats.literal(note), icon=":material/info:", duration="long")
    generate_state.put_job_in_address()
    custom_components.skip_link(t("generate.skip"), f"{generate_form.SELECTORS[generate_form.PROMPT]} textarea")
    _draft(studio)
    snapshot = studio.queue.snapshot()
    mine = result.read(studio, snapshot)
    library = prompts.library_for(form_state.form_value("model.id"), studio.settings.configs / "prompts")
    with st.container(key="workspace"):
        with st.container(key="form_zone"):
            with st.container(key="ask"):
                model = _model(studio)
                generate_form.render(studio, model, library)
                accordions.render(studio, model)
            with st.container(key="foot"):
                generate_foot.render(studio, snapshot, mine.running or (mine.waiting[0] if mine.waiting else None))
        with st.container(key="stage"):
            live_draft.render(studio)
            result.render(studio, snapshot, mine, lambda: generate_foot.render_welcome(studio, library))
        with st.container(key="session"):
            result.render_strip(mine)
    if not generate_state.section_open("img2img"):
        input_card.paste_anywhere(studio)
    form_state.keep_form()


def _draft(studio: Studio) -> None:
    """Keep the form in the browser, and take back what it had kept."""
    custom_components.draft(
        "draft",
        {
            **form_state.form(), "batch": form_state.batch_text(), "level": generate_state.level(),
            "inputs": dict(input_state.sources().inputs), "parent": input_state.sources().parent,
        },
        generate_form.SELECTORS, form=".st-key-form_zone", prefix=form_state.widget_key(""),
        fresh=not form_state.fills(), fills=form_state.fills(),
        on_restored=partial(form_actions.restore_draft, studio), on_typed=form_actions.take_typed,
    )  # fmt: skip


def _model(studio: Studio) -> ModelInfo | None:
    """Return the selected model; None, with the reason on the page, when there is no such model any more."""
    try:
        return studio.catalog.find(form_state.form_value("model.id"))
    except StudioError as error:
        st.warning(formats.literal(error.message(session.language())))
        return None


page()
