"""Show options that differ from the settings: selected by name, each with its field of the Generate page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.benchmark.plan import SHARED
from core.config.options import SCHEMA
from core.config.schema import Option
from core.errors import InputError
from ui.i18n import localized, t
from ui.state import benchmark as benchmark_state
from ui.state import session

_BASIC = ("num_inference_steps", "cfg_scale", "width", "height", "negative_prompt")


def draw(label: str, scope: str) -> None:
    """Show the selection of options and their fields; `scope` tells the places of a page apart."""
    options = _options()
    selected = st.multiselect(
        label, list(options), key=session.labelled(benchmark_state.override_field(scope)), placeholder=t("benchmark.add_option"),
        format_func=lambda key: localized(options[key].label), persist_state="session",
    )  # fmt: skip
    for key in selected:
        _field(options[key], benchmark_state.override_field(scope, key))


def values(scope: str) -> Mapping[str, Any]:
    """Return what is set there, by schema key; an empty field says nothing."""
    found = {key: st.session_state.get(benchmark_state.override_field(scope, key)) for key in benchmark_state.overridden(scope)}
    return {key: value for key, value in found.items() if value is not None}


def checked(key: str, value: Any) -> Any:
    """Return the value of an option's field as the field takes it; None for an option or a value that is not one."""
    option = _options().get(key)
    if option is None or value is None:
        return None
    try:
        number = option.check(value, "form")
    except InputError:
        return None
    return float(number) if option.type == "float" else number


def known(keys: Any) -> list[str]:
    """Return those that can be selected."""
    return [key for key in keys if key in _options()] if isinstance(keys, list) else []


def _options() -> dict[str, Option]:
    basic = [SCHEMA.options[f"generation.{name}"] for name in _BASIC]
    options = (option for option in SCHEMA.request_options() if option.implemented and option.type != "list")
    return {option.key: option for option in (*basic, *options) if option.key not in SHARED}


def _field(option: Option, key: str) -> None:
    unit = f" ({option.unit})" if option.unit else ""
    shared: dict[str, Any] = {"label": localized(option.label) + unit, "key": key, "help": localized(option.help)}
    if option.type == "bool":
        st.session_state.setdefault(key, not option.default)
        st.toggle(**shared, persist_state="session")
    elif option.type == "choice":
        st.selectbox(options=option.choices, **shared, persist_state="session")
    elif option.type in ("int", "float"):
        convert = int if option.type == "int" else float
        st.number_input(
            min_value=convert(option.minimum or 0), max_value=convert(option.maximum or 0), value=None,
            step=convert(option.step or 1), placeholder=localized(option.allowed), **shared, persist_state="session",
        )  # fmt: skip
    else:
        st.text_input(**shared, persist_state="session")
