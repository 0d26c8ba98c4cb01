"""Track which forms the browser has returned to this session, and which fields a program has not seen before."""

from __future__ import annotations

import secrets

import streamlit as st

_SESSION = "draft_session"
_ASKED = "drafts_asked"


def draft_session() -> str:
    """Return a name of this session: the browser gives the forms that it has kept back once to each."""
    return str(st.session_state.setdefault(_SESSION, secrets.token_hex(4)))


def draft_asked(name: str) -> bool:
    """Return True once the browser has given back the form of this name."""
    return name in st.session_state.get(_ASKED, ())


def set_draft_asked(name: str) -> None:
    st.session_state[_ASKED] = {*st.session_state.get(_ASKED, ()), name}
