"""How LoRAs are written: in the option, and in a prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.loras import FORBIDDEN, KEY, LARGEST, LoraUse, moved, read_uses, split_prompt, uses_of, write_tags
from core.errors import OptionError
from core.types import GenerationRequest

NAMES = st.text(st.characters(exclude_characters=FORBIDDEN, exclude_categories=("C", "Z")), min_size=1, max_size=20)
WEIGHTS = st.integers(-400, 400).map(lambda number: number / 100)


@given(st.dictionaries(NAMES, WEIGHTS, min_size=1, max_size=5))
def test_what_is_written_is_read_back(weights: dict[str, float]) -> None:
    uses = tuple(LoraUse(name, weight) for name, weight in weights.items())
    assert read_uses([str(use) for use in uses], "form") == uses
    prompt, tags = split_prompt(f"a house {write_tags(uses)}")
    assert (prompt, read_uses(tags, "form")) == ("a house", uses)


@given(st.text(max_size=60))
def test_a_prompt_without_tags_is_not_touched(prompt: str) -> None:
    plain, tags = split_prompt(prompt)
    assert tags or plain == prompt


@pytest.mark.parametrize(
    ("prompt", "plain", "tags"),
    [
        ("<lora:ink:0.5> a house", "a house", ("ink:0.5",)),
        ("a house, <lora:ink>, snow", "a house, snow", ("ink",)),
        ("a house,<lora:ink:1>", "a house", ("ink:1",)),
        ("a <LORA:ink:1> house\nsnow <lora:b:-1>", "a house\nsnow", ("ink:1", "b:-1")),
        ("<lora:ink:1>", "", ("ink:1",)),
        ("红房子<lora:水墨:0.8>，雪", "红房子，雪", ("水墨:0.8",)),
    ],
)
def test_tags_are_taken_out(prompt: str, plain: str, tags: tuple[str, ...]) -> None:
    assert split_prompt(prompt) == (plain, tags)


@pytest.mark.parametrize(
    "texts",
    [["ink:x"], [":1"], [""], ["ink:nan"], [f"ink:{LARGEST + 1}"], ["ink:0.5:0.7"], ["ink", "ink:0.5"], ["a"] * 17],
)
def test_what_makes_no_sense_is_an_error(texts: list[str]) -> None:
    with pytest.raises(OptionError) as error:
        read_uses(texts, "form")
    assert KEY in str(error.value) and "name:weight" in str(error.value)


def test_a_second_weight_is_understood_where_it_is_the_first_again_and_else_said() -> None:
    assert read_uses(["ink:0.5:0.5"], "form") == (LoraUse("ink", 0.5),)
    with pytest.raises(OptionError, match="for the network and the text encoders alike"):
        read_uses(["ink:0.5:0.7"], "form")


def test_the_prompt_wins_where_both_name_one_and_the_decision_says_so() -> None:
    request = GenerationRequest("a house <lora:ink:0.3>", options={KEY: ("ink:1", "neon:0.5")})
    assert uses_of(request) == (LoraUse("ink", 0.3), LoraUse("neon", 0.5))
    single, decisions = moved(request)
    assert single.prompt == "a house" and single.options[KEY] == ("ink:0.3", "neon:0.5")
    assert decisions[0].requested == ["ink:1", "neon:0.5"] and decisions[0].effective == ["ink:0.3", "neon:0.5"]
    assert moved(single) == (single, ())
