"""Columns as people write them, and the order in which they load least."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.benchmark import plan
from core.config.options import SCHEMA
from core.errors import InputError
from core.types import GenerationRequest

DEFAULTS = {option.key: option.default for option in SCHEMA.request_options()}


def request(model: str, **options: object) -> GenerationRequest:
    return GenerationRequest("a", model=model, options={**DEFAULTS, **options})


def test_columns_of_a_model_are_next_to_one_another_and_of_these_those_that_load_alike() -> None:
    half = {"model.dtype": "bfloat16"}
    requests = [
        request("demo"), request("sdxl"), request("demo", **half), request("demo", **{"preview.interval": 3}), request("sdxl"),
    ]  # fmt: skip
    assert plan.running_order(requests) == (0, 3, 2, 1, 4)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["auto", "float32", "bfloat16"])), max_size=8))
def test_any_columns_load_no_more_often_than_they_differ(wanted: list[tuple[str, str]]) -> None:
    requests = [request(model, **{"model.dtype": dtype}) for model, dtype in wanted]
    order = plan.running_order(requests)
    assert sorted(order) == list(range(len(wanted)))
    ran = [wanted[k] for k in order]
    assert sum(ran[k] != ran[k - 1] for k in range(1, len(ran))) == max(0, len(set(wanted)) - 1)
    models = [model for model, _ in ran]
    assert sum(models[k] != models[k - 1] for k in range(1, len(models))) == max(0, len(set(models)) - 1)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# nothing\n\n", {}),
        ("num_inference_steps = 4\nvae.enable_tiling=true", {"num_inference_steps": "4", "vae.enable_tiling": "true"}),
        ("generation:\n  num_inference_steps: 4", {"generation.num_inference_steps": 4}),
        ("negative_prompt = a = b", {"negative_prompt": "a = b"}),
    ],
)
def test_options_are_pairs_or_yaml(text: str, values: dict[str, object]) -> None:
    assert plan.read_values(text, "here") == values


@given(st.text())
def test_any_text_is_values_or_an_error_that_can_be_said(text: str) -> None:
    for read in (plan.read_values, plan.read_seeds):
        try:
            read(text, plan.place_of(1))
        except InputError as error:
            assert error.message("zh") and "第 1 列" in error.message("zh") and "column 1" in error.message("en")


def test_seeds() -> None:
    assert plan.read_seeds("7, 8，9;10 11", "here") == (7, 8, 9, 10, 11)
    (generated,) = plan.read_seeds("-1", "here")
    assert generated >= 0
