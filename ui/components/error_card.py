"""Show an error as a card: what happened, why and what to do, the details folded."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from core.errors import CorruptImageError, OutOfMemoryError, StudioError
from ui.i18n import known, t
from ui.state import form as form_state
from ui.state import session

# The option that cures an error at a click, where one does.
CURES: Mapping[str, Mapping[str, Any]] = {
    OutOfMemoryError.__name__: {"memory.low_vram": True},
    CorruptImageError.__name__: {"model.dtype": "float32"},
}


def render(
    error: StudioError, key: str, run_again: Callable[[Mapping[str, Any]], None] | None = None,
    on_close: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Show an error. `run_again` gets the options that cure it (none if no option does); without it there is no button."""
    title = t(f"error.{error.code}") if known(f"error.{error.code}") else t("error.other")
    with st.container(border=True, key=f"problem_{key}"):
        with st.container(horizontal=True, vertical_alignment="top", key=f"{key}_head"):
            block(title, error.message(session.language()))
            if on_close is not None:
                st.button(
                    "",
                    key=f"{key}_close",
                    icon=":material/close:",
                    help=t("error.close"),
                    type="tertiary",
                    on_click=on_close,
                )
        cure = CURES.get(error.code, {})
        if run_again:
            label = t("error.cure", what=_said(cure)) if cure else t("error.again")
            st.button(
                label,
                key=f"{key}_again",
                type="primary" if cure else "secondary",
                on_click=_cured,
                args=(run_again, cure),
            )
        with st.expander(t("error.details")):
            rows = "\n".join(f"{name}: {value}" for name, value in error.values.items())
            st.code(f"{error.code}\n{rows}", language=None, wrap_lines=True)


def files(errors: Sequence[StudioError], key: str, on_close: Callable[[], None]) -> None:
    """Show one card for all files that could not be imported, each with its name and the reason; a long list scrolls."""
    title = t("error.files", count=len(errors))
    rows = []
    for error in errors:
        known_file = {"file", "detail"} <= error.values.keys()
        name = str(error.values["file"]) if known_file else ""
        reason = error.localized("detail", session.language()) if known_file else error.message(session.language())
        rows.append(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(reason))}</dd>")
    with st.container(border=True, horizontal=True, vertical_alignment="top", key=f"problem_{key}"):
        st.html(
            f'<div class="zd-problem" role="alert"><b>{html.escape(title)}</b></div>'
            f'<dl class="zd-files" tabindex="0" role="group" aria-label="{html.escape(title)}">{"".join(rows)}</dl>'
        )
        st.button(
            "", key=f"{key}_close", icon=":material/close:", help=t("error.close"), type="tertiary", on_click=on_close
        )


def settings_problems(problems: Sequence[StudioError]) -> None:
    """Show one card for all errors of the settings; the app runs on safe values meanwhile."""
    if not problems:
        return
    with st.container(border=True, key="problem_settings"):
        block(t("error.settings_title"), t("error.settings_text"))
        for problem in problems:
            st.text(problem.message(session.language()))


def block(title: str, words: str) -> None:
    """Show a title and plain text: an error may quote what somebody typed."""
    st.html(f'<div class="zd-problem" role="alert"><b>{html.escape(title)}</b><p>{html.escape(words)}</p></div>')


def _cured(run_again: Callable[[Mapping[str, Any]], None], cure: Mapping[str, Any]) -> None:
    form_state.fill_form(cure)
    run_again(cure)


def _said(cure: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {str(value).lower()}" for name, value in cure.items())
