"""Keep which page is shown, and the errors of the last action: they stay until another action, and do not follow to other pages."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from core.errors import StudioError

_PAGE = "page"
_ENTERED = "page_entered"
_ERRORS = "errors"
_SEEN = "errors_seen"


def enter_page(name: str) -> None:
    """Note, once a run, which page is drawn. Errors that were shown on the page before are gone."""
    st.session_state[_ENTERED] = st.session_state.get(_PAGE) != name
    st.session_state[_PAGE] = name
    if just_entered() and st.session_state.get(_SEEN):
        set_errors(())


def just_entered() -> bool:
    """Return whether another page, or none, was drawn before this run."""
    return bool(st.session_state.get(_ENTERED, True))


def errors() -> tuple[StudioError, ...]:
    """Return the errors of the last action, to be shown."""
    found = tuple(StudioError.from_dict(data) for data in st.session_state.get(_ERRORS, ()))
    st.session_state[_SEEN] = bool(found)
    return found


def set_errors(found: Iterable[StudioError]) -> None:
    """Show these errors on the page until the next action."""
    st.session_state[_ERRORS] = [error.to_dict() for error in found]
    st.session_state[_SEEN] = False
