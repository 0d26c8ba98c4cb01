"""Keep the LoRAs in the form: one value under the option's key, shown as a list of names with a slider each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from core.config.lora_syntax import KEY, LoraSpec, read_uses
from core.errors import OptionError
from ui.state.form import fill_form, form_value, give_widget

NAMES = "lora_names"
PROMPT = "generation.prompt"
_WEIGHT = "lora_weight:"


def lora_uses() -> tuple[LoraSpec, ...]:
    """Return the LoRAs of the form; none if the form's text is invalid."""
    try:
        return read_uses(form_value(KEY) or (), "form")
    except OptionError:
        return ()


def weight_key(name: str) -> str:
    """Return the session key of a LoRA's slider."""
    return _WEIGHT + name


def lay_out_loras(uses: Sequence[LoraSpec]) -> None:
    """Give the widgets what the form holds, before they are rendered: other parts of the page change it, too."""
    give_widget(NAMES, [use.name for use in uses])
    for use in uses:
        give_widget(weight_key(use.name), use.weight)


def take_loras() -> None:
    """Put what the widgets hold into the form. A LoRA that is chosen anew begins at 1."""
    names: list[str] = st.session_state.get(NAMES, [])
    before = {use.name: use for use in lora_uses()}
    uses = [before.get(name, LoraSpec(name)) for name in names]
    weighted = [replace(use, weight=st.session_state.get(weight_key(use.name), use.weight)) for use in uses]
    fill_form({KEY: tuple(str(use) for use in weighted)})


def toggle_lora(name: str) -> None:
    """Choose a LoRA for the next image, or no longer."""
    uses = lora_uses()
    kept = [use for use in uses if use.name != name]
    fill_form({KEY: tuple(str(use) for use in (kept if len(kept) < len(uses) else [*uses, LoraSpec(name)]))})


def add_to_prompt(words: str) -> None:
    """Append words, such as a LoRA's trigger words, to the prompt unless they are in it."""
    prompt = str(form_value(PROMPT) or "")
    if words not in prompt:
        fill_form({PROMPT: f"{prompt}, {words}" if prompt.strip() else words})
