"""What the browser has kept of the form comes back once, and overwrites nothing that was changed before it arrived."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

KEPT = {
    "model.id": "no-longer-here",
    "generation.prompt": "a quiet harbour",
    "generation.num_inference_steps": 12,
    "generation.cfg_scale": "nonsense",
    "batch": "one\ntwo",
    "level": "expert",
}


def opened_page(kept: dict[str, object], changes: dict[str, object]) -> None:
    import streamlit as st

    from ui import resources
    from ui.actions import form as form_actions
    from ui.state import form as form_state
    from ui.state import generate_page as generate_state

    studio = resources.studio()
    form_actions.open_form(studio)
    form_state.fill_form(changes)
    form_actions.restore_draft(studio, kept)
    st.json({**form_state.form_values(), "batch": form_state.batch_text(), "level": generate_state.level()})


def form_after(changes: dict[str, object]) -> dict[str, object]:
    test = AppTest.from_function(opened_page, args=(KEPT, changes)).run(timeout=60)
    assert not test.exception
    return json.loads(test.json[0].value)


def test_what_was_kept_comes_back_and_what_can_not_be_used_is_left_out(studio):
    form = form_after({})
    assert (form["generation.prompt"], form["generation.num_inference_steps"]) == ("a quiet harbour", 12)
    assert (form["batch"], form["level"]) == ("one\ntwo", "expert")
    assert (form["model.id"], form["generation.cfg_scale"]) == ("demo", 1.0)


def test_what_was_changed_before_it_arrived_stays(studio):
    form = form_after({"generation.num_inference_steps": 4})
    assert (form["generation.prompt"], form["generation.num_inference_steps"]) == ("a quiet harbour", 4)


def opened_benchmark(kept: dict[str, object], changes: dict[str, object]) -> None:
    import streamlit as st

    from ui.state import benchmark as benchmark_state

    model = benchmark_state.column_field("model", 1)
    benchmark_state.prefill_benchmark({benchmark_state.PROMPTS: "proposed", benchmark_state.SEEDS: "1, 2", model: "demo"})
    st.session_state.update(changes)
    benchmark_state.restore_benchmark(kept)
    st.json(benchmark_state.benchmark_fields())


@pytest.mark.parametrize(
    ("changes", "columns"), [({}, [1, 2, 3]), ({"comparison_rows": [2, 4], "comparison:seeds": "9"}, [2, 4])], ids=["none", "some"]
)
def test_the_benchmark_comes_back_but_for_what_was_changed(studio, changes, columns):
    kept = {"comparison_rows": [1, 2, 3], "comparison:prompts": "a lighthouse", "comparison:seeds": "5", "other": "key"}
    test = AppTest.from_function(opened_benchmark, args=(kept, changes)).run(timeout=60)
    form = json.loads(test.json[0].value)
    assert (form["comparison_rows"], form["comparison:prompts"]) == (columns, "a lighthouse")
    assert form["comparison:seeds"] == changes.get("comparison:seeds", "5") and "other" not in form
