"""Keep the state of the Benchmark page: the columns of its form, and which benchmark is open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

# The address and what browsers keep say "comparison", as links and forms of version 0.1 do.
_OPEN = "comparison"
COLUMNS = "comparison_rows"  # numbers of the columns
_OPENING = "comparison_opening"
_FIELD = "comparison:"
SHARED, PROMPTS, SEEDS, VIEW = (f"{_FIELD}{name}" for name in ("shared", "prompts", "seeds", "view"))


def open_benchmark() -> str | None:
    """Return the id of the open benchmark; the address keeps it over F5 and can be shared."""
    if "comparison" in st.query_params:
        st.session_state[_OPEN] = st.query_params["comparison"]
    return st.session_state.get(_OPEN)


def set_open_benchmark(benchmark_id: str | None) -> None:
    """Look at this one; None: at the form and the list."""
    st.session_state[_OPEN] = benchmark_id
    if benchmark_id is None and "comparison" in st.query_params:
        del st.query_params["comparison"]
    elif benchmark_id is not None:
        st.query_params["comparison"] = benchmark_id


def put_benchmark_in_address() -> None:
    """Put the benchmark into the address again, which changing pages empties."""
    if st.session_state.get(_OPEN):
        st.query_params["comparison"] = st.session_state[_OPEN]


def benchmark_rows() -> list[int]:
    """Return the numbers of the form's columns, parts of the names of their fields. Two at first."""
    return list(st.session_state.setdefault(COLUMNS, [1, 2]))


def add_benchmark_row() -> None:
    """Add an empty column to the form."""
    st.session_state[COLUMNS] = [*benchmark_rows(), max(benchmark_rows()) + 1]


def remove_benchmark_row(row: int) -> None:
    """Remove a column from the form, by its number."""
    st.session_state[COLUMNS] = [other for other in benchmark_rows() if other != row]


def column_field(name: str, row: int) -> str:
    """Return the session key of a field of a column: model, profile or options."""
    return f"{_FIELD}{name}:{row}"


def column_text(name: str, row: int) -> str:
    """Return the content of that field."""
    return str(st.session_state.get(column_field(name, row)) or "")


def benchmark_text(field: str) -> str:
    """Return the content of SHARED, PROMPTS or SEEDS."""
    return str(st.session_state.get(field) or "")


def set_benchmark_texts(texts: Mapping[str, Any]) -> None:
    """Put words that were typed and did not arrive into their fields."""
    st.session_state.update({field: str(words) for field, words in texts.items()})


def prefill_benchmark(values: dict[str, object]) -> None:
    """Fill fields that do not exist yet; the first time is how the page was opened."""
    for field, value in values.items():
        st.session_state.setdefault(field, value)
    st.session_state.setdefault(_OPENING, benchmark_fields())


def benchmark_fields() -> dict[str, Any]:
    """Return the form by session key, with its columns, as the browser keeps it."""
    fields = {key: value for key, value in st.session_state.items() if str(key).startswith(_FIELD) and key != VIEW}
    return {COLUMNS: benchmark_rows(), **{str(key): value for key, value in fields.items()}}


def restore_benchmark(kept: Mapping[str, Any]) -> None:
    """Put the form back as the browser has kept it, but for what was changed on the page before it arrived."""
    opening = st.session_state.get(_OPENING, {})
    changed = {key for key, value in benchmark_fields().items() if (value or None) != (opening.get(key) or None)}
    fields = {key: value for key, value in kept.items() if key not in changed and value is not None}
    if len(fields.pop(COLUMNS, ())) >= 2:
        st.session_state[COLUMNS] = kept[COLUMNS]
    st.session_state.update({key: value for key, value in fields.items() if key.startswith(_FIELD)})


def override_field(scope: str, key: str = "") -> str:
    """Return the session key of the options that a column (its row) or all columns ("all") override, or of one's value."""
    return f"{_FIELD}override:{scope}:{key}"


def overridden(scope: str) -> list[str]:
    """Return the schema keys of the options that are overridden there."""
    return list(st.session_state.get(override_field(scope)) or ())
