"""Show Enhance and Translate: the model's text encoder rewrites the prompt; the user sees, edits or reverts it."""

from __future__ import annotations

import random

import streamlit as st

from core.errors import StudioError
from core.studio import Studio
from core.types import ModelInfo
from ui.i18n import localized, t
from ui.state import current_page as page_state
from ui.state import form as form_state
from ui.state import prompt_help as prompt_help_state

PROMPT = "generation.prompt"
POLL_SECONDS = 0.3
ICONS = {"enhance": ":material/auto_fix_high:", "translate": ":material/translate:"}


def buttons(studio: Studio, model: ModelInfo | None) -> None:
    """Show the buttons of both tasks, disabled with the reason, and Undo after one of them."""
    reason = studio.prompt_help.problem(model.id) if model is not None else None
    prompt = (form_state.form_value(PROMPT) or "").strip()
    busy = prompt_help_state.prompt_help() is not None
    for task, icon in ICONS.items():
        st.button(
            t(f"prompt_help.{task}"), key=f"prompt_{task}", icon=icon, type="tertiary",
            help=localized(reason) if reason else t(f"prompt_help.{task}_help"),
            disabled=model is None or reason is not None or busy or not prompt,
            on_click=_ask, args=(studio, task),
        )  # fmt: skip
    if original := prompt_help_state.original_prompt(prompt):
        st.button(
            t("prompt_help.undo"), key="prompt_undo", icon=":material/undo:", type="tertiary", help=original,
            on_click=_undo, args=(original,),
        )  # fmt: skip


def take_answer(studio: Studio) -> None:
    """Put a finished prompt into the form; called before the form's fields are drawn."""
    asked = prompt_help_state.prompt_help()
    answer = studio.prompt_help.answer(asked.id) if asked is not None else None
    if asked is None or answer is None or not answer.done:
        return
    prompt_help_state.set_prompt_help(None)
    if answer.error is not None:
        page_state.set_errors([answer.error])
    elif written := answer.text.strip():
        prompt_help_state.take_prompt(asked.original, written)
        form_state.fill_form({PROMPT: written})


def progress(studio: Studio) -> None:
    """Show the words as they come, while they come."""
    asked = prompt_help_state.prompt_help()
    if asked is not None:
        st.fragment(_progress, run_every=POLL_SECONDS)(studio, asked)


def _progress(studio: Studio, asked: prompt_help_state.PromptHelpRequest) -> None:
    answer = studio.prompt_help.answer(asked.id)
    if answer.done:
        st.rerun()
    st.code(answer.text or t("prompt_help.waiting"), language=None, wrap_lines=True)
    st.button(t("job.cancel"), key="prompt_cancel", on_click=_cancel, args=(studio, asked))


def _ask(studio: Studio, task: str) -> None:
    prompt = (form_state.form_value(PROMPT) or "").strip()
    seed = random.SystemRandom().randrange(2**31)
    try:
        answer_id = studio.prompt_help.ask(task, prompt, form_state.form_values(), seed)
    except StudioError as error:
        page_state.set_errors([error])
        return
    original = prompt_help_state.original_prompt(prompt) or prompt
    prompt_help_state.set_prompt_help(prompt_help_state.PromptHelpRequest(answer_id, original))


def _cancel(studio: Studio, asked: prompt_help_state.PromptHelpRequest) -> None:
    """Stop it; the prompt stays as it was."""
    studio.prompt_help.cancel(asked.id)
    prompt_help_state.set_prompt_help(None)


def _undo(original: str) -> None:
    prompt_help_state.forget_original()
    form_state.fill_form({PROMPT: original})
