"""Keep the state of the pages Setup check, Models and Queue."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from core.errors import StudioError
from core.types import Job

_GUIDE = "guide_runs"
_CLEARED = "cleared"
_QUEUE_PAGE = "queue_page"
_MODEL_ERRORS = "model_errors"


def model_field(name: str) -> str:
    """Return the session key of a field on the Models page."""
    return f"models:{name}"


def model_text(name: str) -> str:
    """Return the content of that field."""
    return str(st.session_state.get(model_field(name)) or "")


def empty_model_field(name: str) -> None:
    st.session_state[model_field(name)] = ""


def guide_runs() -> dict[str, list[str]]:
    """Return the jobs of each step that was run, by its key; the address keeps them over F5."""
    if _GUIDE not in st.session_state:
        pairs = [part.partition(":") for part in st.query_params.get("runs", "").split(";") if ":" in part]
        st.session_state[_GUIDE] = {step: ids.split(",") for step, _, ids in pairs}
    runs: dict[str, list[str]] = st.session_state[_GUIDE]
    return runs


def set_guide_run(step: str, jobs: list[str]) -> None:
    st.session_state[_GUIDE] = {**guide_runs(), step: jobs}


def keep_guide_in_address() -> None:
    """Write the step and jobs of the setup check into the address, so that a reload keeps them."""
    if guide_runs():
        st.query_params["runs"] = ";".join(f"{step}:{','.join(ids)}" for step, ids in guide_runs().items())


def is_cleared(job: Job) -> bool:
    """Return True for a job that ended before the viewer last cleared the list of ended jobs; the address keeps it over F5."""
    if _CLEARED not in st.session_state and _CLEARED in st.query_params:
        st.session_state[_CLEARED] = st.query_params[_CLEARED]
    since = st.session_state.get(_CLEARED)
    if since is not None:
        st.query_params[_CLEARED] = since
    return since is not None and job.finished_at is not None and job.finished_at <= datetime.fromisoformat(since)


def clear_ended(now: datetime) -> None:
    """Leave out jobs that ended up to `now` (aware, UTC) from the list of ended ones."""
    st.session_state[_CLEARED] = now.isoformat()


def queue_page(name: str) -> tuple[int, str | None]:
    """Return how many jobs of that list come before the page that is shown, and the last of them; (0, None) at first."""
    first, after = st.session_state.get(f"{_QUEUE_PAGE}:{name}", (0, None))
    return int(first), after


def turn_queue_page(name: str, first: int, after: str | None) -> None:
    """Show the page that begins after the job `after`, with `first` jobs before it."""
    st.session_state[f"{_QUEUE_PAGE}:{name}"] = (first, after)



def model_error(place: str) -> StudioError | None:
    """Return what went wrong at a place of the Models page: a model's id, or the name of a field."""
    stored = st.session_state.get(_MODEL_ERRORS, {}).get(place)
    return StudioError.from_dict(stored) if stored else None


def set_model_error(place: str, error: StudioError | None) -> None:
    """Keep what went wrong there; None when it is done with."""
    others = {name: stored for name, stored in st.session_state.get(_MODEL_ERRORS, {}).items() if name != place}
    st.session_state[_MODEL_ERRORS] = {**others, place: error.to_dict()} if error else others
