"""Show the whole form as YAML, to copy and to paste back."""

from __future__ import annotations

import streamlit as st

from core.config.loader import to_yaml
from core.errors import StudioError
from core.studio import Studio
from ui.actions import form as form_actions
from ui.components import error_card
from ui.i18n import t
from ui.state import form as form_state

_RESULT = "yaml_result"


def draw(studio: Studio) -> None:
    """Show the effective settings, and a field that takes them back. What cannot be used changes nothing and stays in the field."""
    try:
        request = studio.requests.new(form_state.form_values())
    except StudioError as error:
        error_card.draw(error, "yaml_now")
    else:
        st.code(to_yaml(form_state.request_values(request)), language="yaml", height=240)
    field = f"yaml_{form_state.yaml_version()}"
    st.text_area(t("yaml.paste"), key=field, height=120, placeholder="generation:\n  cfg_scale: 3.0")
    st.button(t("yaml.apply"), key="yaml_apply", on_click=_apply, args=(studio, field))
    _show_result()


def _apply(studio: Studio, field: str) -> None:
    problems, elsewhere = form_actions.apply_yaml(studio, st.session_state.get(field) or "", "YAML")
    st.session_state[_RESULT] = ([problem.to_dict() for problem in problems], elsewhere)
    if not problems:
        form_state.renew_yaml()


def _show_result() -> None:
    result = st.session_state.pop(_RESULT, None)
    if result is None:
        return
    problems, elsewhere = result
    for number, data in enumerate(problems):
        error_card.draw(StudioError.from_dict(data), f"yaml{number}")
    if not problems:
        st.success(t("yaml.applied"), icon=":material/check:")
    if elsewhere:
        st.info(t("yaml.elsewhere", keys=", ".join(elsewhere)), icon=":material/info:")
