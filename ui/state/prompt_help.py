"""Keep a prompt that the text encoder is writing, and the user's own that it came from."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher

import streamlit as st

_ASKED, _TAKEN = "prompt_help_asked", "prompt_help_taken"
ALIKE = 0.5  # a prompt that was edited further than this is a new one


@dataclass(frozen=True)
class PromptHelpRequest:
    """The id of the answer, and the prompt that it is made from."""

    id: str
    original: str


def prompt_help() -> PromptHelpRequest | None:
    """Return what is being written now."""
    found: PromptHelpRequest | None = st.session_state.get(_ASKED)
    return found


def set_prompt_help(asked: PromptHelpRequest | None) -> None:
    """Begin, or end."""
    st.session_state[_ASKED] = asked


def take_prompt(original: str, written: str) -> None:
    """Remember that the prompt in the form was written, and from what."""
    st.session_state[_TAKEN] = (original, written)


def forget_original() -> None:
    """Forget the prompt before the enhancement: the present one is the user's own again."""
    st.session_state.pop(_TAKEN, None)


def original_prompt(prompt: str) -> str:
    """Return the user's own prompt that this one was made from; "" for one that is the user's own."""
    original, written = st.session_state.get(_TAKEN, ("", ""))
    alike = bool(written) and SequenceMatcher(None, written, prompt, autojunk=False).ratio() >= ALIKE
    return original if alike else ""
