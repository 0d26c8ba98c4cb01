"""Keep who looks, in which language, and at which page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import unquote

import streamlit as st

from core.config.schema import AUTO
from core.errors import LANGUAGES, StudioError
from core.server import ROLE_HEADER, USER_HEADER, page_client
from core.types import Job

_LANGUAGE = "language"
_DEFAULT_LANGUAGE = "default_language"
_LABELLED = "labelled_fields"
_SPOKEN: ContextVar[str] = ContextVar("spoken", default="")
_OF_RUN: ContextVar[str] = ContextVar("of_run", default="")  # a page asks for it a thousand times; the session's state is slow


def choose_language(configured: str = AUTO) -> None:
    """Set the language once per run: the viewer's choice (kept in the address), else the setting, else the browser's."""
    asked = st.query_params.get("lang")
    if _LANGUAGE not in st.session_state and asked in LANGUAGES:
        st.session_state[_LANGUAGE] = asked
    browser = (st.context.locale or "").lower()
    fallback = "zh" if browser.startswith("zh") else "en"
    st.session_state[_DEFAULT_LANGUAGE] = configured if configured in LANGUAGES else fallback
    if _LANGUAGE in st.session_state:
        st.query_params["lang"] = st.session_state[_LANGUAGE]
    _OF_RUN.set(_of_session())


@contextmanager
def speaking(selected: str) -> Iterator[None]:
    """Use this language inside the block, for calls without a page."""
    token = _SPOKEN.set(selected)
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def language() -> str:
    """Return the viewer's language, "zh" or "en"."""
    return _SPOKEN.get() or _OF_RUN.get() or _of_session()


def _of_session() -> str:
    return st.session_state.get(_LANGUAGE) or st.session_state.get(_DEFAULT_LANGUAGE, "en")


def set_language(value: str) -> None:
    """Set the viewer's language.

    Browsers hold the label of what is selected, not its id: every field with labels is given its id again, so that the new
    label goes to the browser with it.
    """
    st.session_state[_LANGUAGE] = value
    _OF_RUN.set(value)
    for key in st.session_state.get(_LABELLED, ()):
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]


def labelled(key: str) -> str:
    """Return the key of a field whose choices have labels in the viewer's language, and remember it for `set_language`."""
    st.session_state[_LABELLED] = st.session_state.get(_LABELLED, frozenset()) | {key}
    return key


def user() -> str | None:
    """Return the logged-in user: "" with the token, None without access control."""
    name = st.context.headers.get(USER_HEADER)
    return None if name is None else unquote(name)


def is_admin() -> bool:
    """Return True for whoever may change the machine: models, downloads, tokens, folders, workers.

    Everyone where nothing is guarded, and the holder of the token.
    """
    return st.context.headers.get(ROLE_HEADER) in (None, "admin")


def client() -> str:
    """Return the client of the viewer's jobs: the user, else a digest of the browser's cookie.

    F5 and other tabs keep it. A user is the same over the service.
    """
    return page_client(st.context.headers, st.context.cookies)


def owner() -> str | None:
    """Return the client whose jobs are the viewer's; None where all are: on one machine without users, everybody is one person."""
    return client() if user() is not None else None


def is_mine(job: Job) -> bool:
    """Return True for the viewer's jobs."""
    return owner() in (None, job.client)


def tell_once(name: str) -> bool:
    """Return True the first time in a session that it is called with this name."""
    announced: set[str] = st.session_state.setdefault("told_once", set())
    first = name not in announced
    announced.add(name)
    return first


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
