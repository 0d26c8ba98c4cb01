"""How LoRAs are written: in the option, and in a prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.lora_syntax import (
    FORBIDDEN,
    KEY,
    LARGEST,
    LoraSpec,
    lora_specs_of,
    moved,
    read_uses,
    split_prompt,
    write_tags,
)
from core.errors import OptionError
from core.types import GenerationRequest

NAMES = st.text(st.characters(exclude_characters=FORBIDDEN, exclude_categories=("C", "Z")), min_size=1, max_size=20)
WEIGHTS = st.integers(-400, 400).map(lambda number: number / 100)


@given(st.dictionaries(NAMES, WEIGHTS, min_size=1, max_size=5))
def test_what_is_written_is_read_back(weights: dict[str, float]) -> None:
    uses = tuple(LoraSpec(name, weight) for name, weight in weights.items())
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
    [
        ["ink:x"],
        [":1"],
        [""],
        ["ink:nan"],
        [f"ink:{LARGEST + 1}"],
        ["ink:0.5:0.7:1"],
        ["ink:1:te=x"],
        ["ink:1:te="],
        ["ink:1:nose=1"],
        ["ink:1:te=9"],
        ["ink", "ink:0.5"],
        ["a"] * 17,
    ],
)
def test_what_makes_no_sense_is_an_error(texts: list[str]) -> None:
    with pytest.raises(OptionError) as error:
        read_uses(texts, "form")
    assert KEY in str(error.value) and "name:weight" in str(error.value)


def test_two_weights_are_text_encoders_then_network_as_in_a1111() -> None:
    assert read_uses(["ink:0.5:0.5"], "form") == (LoraSpec("ink", 0.5),)
    assert read_uses(["ink:0.5:0.7"], "form") == (LoraSpec("ink", 0.7, (("te", 0.5),)),)


PARTS = st.dictionaries(
    st.sampled_from(["te", "te1", "te2", "net", "mid_block", "down_blocks.1", "layers.0-9", "noise_refiner"]),
    WEIGHTS,
    max_size=4,
)


@given(NAMES, WEIGHTS, PARTS)
def test_part_weights_round_trip(name: str, weight: float, parts: dict[str, float]) -> None:
    use = LoraSpec(name, weight, tuple(sorted(parts.items(), key=lambda part: part[0] not in ("net", "te"))))
    assert read_uses([str(use)], "form") == (use,)
    (read,) = read_uses(split_prompt(f"a house {write_tags([use])}")[1], "form")
    for part, layer in LAYERS:
        assert read.weight_of(part, layer) == use.weight_of(part, layer)


LAYERS = [
    ("unet", "down_blocks.1.attentions.0.proj_in"), ("unet", "down_blocks.2.resnets.0.conv1"),
    ("unet", "mid_block.resnets.0.conv1"), ("transformer", "layers.9.attention.to_q"),
    ("transformer", "layers.10.attention.to_q"), ("text_encoder", "layers.0.mlp.up_proj"),
    ("text_encoder_2", "text_model.encoder.layers.0.mlp.fc1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("ink:0.8:te=0", (0.8, 0.8, 0.8, 0.8, 0.8, 0, 0)),
        ("ink:0.8:te1=0", (0.8, 0.8, 0.8, 0.8, 0.8, 0, 0.8)),
        ("ink:0.8:te=0:te2=0.4", (0.8, 0.8, 0.8, 0.8, 0.8, 0, 0.4)),
        ("ink:0.8:unet=0.3", (0.3, 0.3, 0.3, 0.3, 0.3, 0.8, 0.8)),
        ("ink:1:mid_block=0:down_blocks.1=0.5", (0.5, 1, 0, 1, 1, 1, 1)),
        ("ink:1:layers.0-9=0.2", (1, 1, 1, 0.2, 1, 1, 1)),
        ("ink:1:layers.3-8=0.2:NET=0", (0, 0, 0, 0, 0, 1, 1)),
    ],
)
def test_part_weights_apply_to_their_layers(text: str, weights: tuple[float, ...]) -> None:
    (use,) = read_uses([text], "form")
    assert tuple(use.weight_of(*layer) for layer in LAYERS) == weights


def test_a_lora_without_weight_does_not_act_unless_a_part_has_one() -> None:
    assert not read_uses(["ink:0"], "form")[0].acts
    assert read_uses(["ink:0:te=1"], "form")[0].acts


def test_the_prompt_wins_where_both_name_one_and_the_decision_says_so() -> None:
    request = GenerationRequest("a house <lora:ink:0.3>", options={KEY: ("ink:1", "neon:0.5")})
    assert lora_specs_of(request) == (LoraSpec("ink", 0.3), LoraSpec("neon", 0.5))
    single, decisions = moved(request)
    assert single.prompt == "a house" and single.options[KEY] == ("ink:0.3", "neon:0.5")
    assert decisions[0].requested == ["ink:1", "neon:0.5"] and decisions[0].effective == ["ink:0.3", "neon:0.5"]
    assert moved(single) == (single, ())


FIRST = ("unet", "down_blocks.1.attentions.0.proj_in")
SECOND = ("unet", "down_blocks.1.resnets.1.conv1")
SAMPLER = ("unet", "down_blocks.1.downsamplers.0.conv")
UP = ("unet", "up_blocks.1.attentions.2.proj_in")
MIDDLE = ("unet", "mid_block.attentions.0.proj_in")
TEXT = ("text_encoder", "text_model.encoder.layers.0.mlp.fc1")


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("ink:1:down_blocks.1.0=0.2", (0.2, 1, 1, 1, 1, 1)),
        ("ink:0.5:lbw=1,0,0,0.2,0.4,0,0,2,0,0,0.6,0,0,0,0,0,0", (0.1, 0.2, 0.5, 0.3, 1, 0.5)),
        ("ink:0.5:lbw=0,0.2,0.4,0,0,2,0,0,0,0,0,0.6", (0.1, 0.2, 0.5, 0.3, 1, 0)),
        ("ink:1:lbw=0,0,0,0,0,0.1,0.2,0.3,0,0,0,0,0,3,0,0,0,0,0,0.6,0,0,0,0,0,0", (0.1, 0.2, 0.3, 0.6, 3, 0)),
        ("ink:0.8:0.5:lbw=OUTALL", (0, 0, 0.5, 0.5, 0, 0.8)),
        ("ink:1:lbw=none", (0, 0, 1, 0, 0, 0)),
    ],
)
def test_block_weights_of_the_extension(text: str, weights: tuple[float, ...]) -> None:
    (use,) = read_uses([text], "form")
    assert tuple(use.weight_of(*layer) for layer in (FIRST, SECOND, SAMPLER, UP, MIDDLE, TEXT)) == pytest.approx(weights)
    assert "," not in str(use) and read_uses([str(use)], "form") == (use,)


@pytest.mark.parametrize("factors", ["", "1,2,3", "IN02", "1,x,0,0,0,0,0,0,0,0,0,0", "9" + ",1" * 16])
def test_factors_that_cannot_be_used_are_named(factors: str) -> None:
    with pytest.raises(OptionError, match="lbw="):
        read_uses([f"ink:1:lbw={factors}"], "form")
