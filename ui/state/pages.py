"""What the guide and the Models page remember."""

from __future__ import annotations

import streamlit as st

_GUIDE = "guide_runs"


def model_field(name: str) -> str:
    """The session key of a field on the Models page."""
    return f"models:{name}"


def model_text(name: str) -> str:
    """What stands in that field."""
    return str(st.session_state.get(model_field(name)) or "")


def empty_model_field(name: str) -> None:
    st.session_state[model_field(name)] = ""


def guide_runs() -> dict[str, list[str]]:
    """The jobs of each step that was run, by its key; the address keeps them over F5."""
    if _GUIDE not in st.session_state:
        pairs = [part.partition(":") for part in st.query_params.get("runs", "").split(";") if ":" in part]
        st.session_state[_GUIDE] = {step: ids.split(",") for step, _, ids in pairs}
    runs: dict[str, list[str]] = st.session_state[_GUIDE]
    return runs


def set_guide_run(step: str, jobs: list[str]) -> None:
    st.session_state[_GUIDE] = {**guide_runs(), step: jobs}


def keep_guide_in_address() -> None:
    if guide_runs():
        st.query_params["runs"] = ";".join(f"{step}:{','.join(ids)}" for step, ids in guide_runs().items())
