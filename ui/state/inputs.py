"""The input pictures that the form has, by role."""

from __future__ import annotations

import streamlit as st

from core.types import CONTROL

_CONTROL = "control_picture"


def control_input() -> dict[str, str]:
    """The control picture as a request names it: its role and digest, or nothing."""
    digest = st.session_state.get(_CONTROL, "")
    return {CONTROL: digest} if digest else {}


def set_control_input(digest: str) -> None:
    """Put a stored picture's digest into the form; "" takes it out."""
    st.session_state[_CONTROL] = digest
