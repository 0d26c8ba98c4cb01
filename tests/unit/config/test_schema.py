"""Each option checks what it is given, and says what came, what is allowed and where it came from."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.config.options import GROUPS, SCHEMA
from core.config.schema import AUTO, Option
from core.errors import LANGUAGES, OptionConflictError, OptionError, UnknownOptionError
from tests.examples import examples

OPTIONS = list(SCHEMA.options.values())
NUMBERS = [option for option in OPTIONS if option.type in ("int", "float")]
each_option = pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
each_number = pytest.mark.parametrize("option", NUMBERS, ids=lambda option: option.key)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def rejected(option: Option, value: Any) -> OptionError:
    """The error that `value` must give."""
    with pytest.raises(OptionError) as caught:
        option.check(value, "configs/local.yaml")
    return caught.value


# -- the declarations ------------------------------------------------------------------------------------------------


@each_option
def test_option_speaks_both_languages(option: Option) -> None:
    for language in LANGUAGES:
        assert option.label[language].strip()
        assert option.help[language].strip()
    assert any("\u4e00" <= letter <= "\u9fff" for letter in option.help["zh"])


@each_option
def test_default_is_a_value_that_the_option_allows(option: Option) -> None:
    assert option.check(option.default, "default") == option.default


@each_option
def test_option_has_a_group_that_has_a_name(option: Option) -> None:
    if option.panel == "advanced":
        assert set(GROUPS[option.group]) == set(LANGUAGES)


@each_number
def test_number_has_a_range(option: Option) -> None:
    assert option.minimum is not None
    assert option.maximum is not None
    assert option.minimum < option.maximum


def test_no_key_is_the_beginning_of_another() -> None:
    keys = list(SCHEMA.options)
    assert len(keys) == len(set(keys))
    assert not [(a, b) for a in keys for b in keys if b.startswith(f"{a}.")]


def test_no_alias_hides_a_key_or_another_alias() -> None:
    declared = [alias for option in OPTIONS for alias in option.aliases]
    assert len(declared) == len(set(declared))
    assert not set(declared) & set(SCHEMA.options)


@pytest.mark.parametrize(
    ("key", "option"),
    [
        ("vae.enable_tiling", "vae.enable_tiling"),
        ("enable_tiling", "vae.enable_tiling"),
        ("tile_sample_min_size", "vae.tile_sample_min_size"),
        ("tile_overlap_factor", "vae.tile_overlap_factor"),
        ("decoder_tiling", "vae.decoder_tiling"),
        ("decoder_tile_size", "vae.decoder_tile_size"),
        ("use_rope", "transformer.use_rope"),
        ("attention_backend", "transformer.attention_backend"),
        ("attention_dropout", "transformer.attention_dropout"),
        ("force_original_resolution", "force_original_resolution"),
        ("cfg_scale", "generation.cfg_scale"),
        ("num_inference_steps", "generation.num_inference_steps"),
        ("negative_prompt", "generation.negative_prompt"),
        ("num_images", "generation.num_images"),
        ("max_split_size_mb", "memory.max_split_size_mb"),
        ("fullgraph", "compile.fullgraph"),
    ],
)
def test_the_guides_spelling_leads_to_its_option(key: str, option: str) -> None:
    assert SCHEMA.find(key, "configs/local.yaml").key == option


def test_a_former_key_is_no_option_and_no_other_options_name() -> None:
    former = [key for option in OPTIONS for key in option.former]
    assert len(former) == len(set(former)) and not set(former) & set(SCHEMA.options)


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.former], ids=lambda option: option.key)
def test_a_former_key_leads_to_its_option(option: Option) -> None:
    for former in option.former:
        assert SCHEMA.find(former, "test") is option
        assert SCHEMA.current({former: [1]}) == {option.key: (1,)}
        assert set(SCHEMA.spellings(former)) == {option.key, *option.former}


def test_stored_facts_keep_names_that_are_only_short_for_an_option() -> None:
    assert SCHEMA.current({"dtype": "float32", "model.fingerprint": "ab"}) == {
        "dtype": "float32",
        "model.fingerprint": "ab",
    }


def test_two_names_of_one_option_must_agree() -> None:
    assert SCHEMA.checked({"guard.retry": "off", "precision.auto_retry": False}, "request") == {
        "precision.auto_retry": False
    }
    with pytest.raises(OptionConflictError) as caught:
        SCHEMA.checked({"guard.retry": False, "precision.auto_retry": True}, "request")
    for language in LANGUAGES:
        assert "guard.retry = False" in caught.value.message(language)
        assert "precision.auto_retry = True" in caught.value.message(language)


def test_the_values_of_a_secret_are_not_told_in_a_conflict() -> None:
    with pytest.raises(OptionConflictError) as caught:
        SCHEMA.checked({"worker.server_token": "first secret", "remote.token": "second secret"}, "environment")
    assert "secret" not in caught.value.message("en")


# -- the checks ------------------------------------------------------------------------------------------------------


@each_option
@settings(max_examples=examples(12))  # of each of more than a hundred options
@given(value=anything)
def test_a_value_is_taken_or_refused_by_name(option: Option, value: Any) -> None:
    try:
        taken = option.check(value, "configs/local.yaml")
    except OptionError as error:
        for language in LANGUAGES:
            line = error.message(language)
            assert "configs/local.yaml" in line
            assert option.key in line
            assert option.allowed[language] in line
            assert "\n" not in line
    else:
        assert option.check(taken, "again") == taken


@each_number
@settings(max_examples=examples(20))
@given(data=st.data())
def test_numbers_within_the_range_are_taken_as_numbers_and_as_text(option: Option, data: st.DataObject) -> None:
    assert option.minimum is not None and option.maximum is not None
    if option.type == "int":
        value: float = data.draw(st.integers(int(option.minimum), int(option.maximum)))
    else:
        value = data.draw(st.floats(option.minimum, option.maximum))
    assert option.check(value, "form") == value
    assert option.check(str(value), "environment") == value
    assert type(option.check(value, "form")) is {"int": int, "float": float}[option.type]


@each_number
@settings(max_examples=examples(20))
@given(data=st.data())
def test_numbers_out_of_range_are_refused(option: Option, data: st.DataObject) -> None:
    assert option.minimum is not None and option.maximum is not None
    above, below = math.floor(option.maximum) + 1, math.ceil(option.minimum) - 1
    value = data.draw(st.integers(min_value=above) | st.integers(max_value=below))
    assert str(value)[:40] in rejected(option, value).message("en")


@each_number
def test_no_number_that_is_none(option: Option) -> None:
    for value in (math.nan, math.inf, -math.inf, "nan", "inf", "-Infinity", "1e999", 10**400, True, ""):
        assert rejected(option, value).values["key"] == option.key, value


@pytest.mark.parametrize("value", [2**64, 2**53, -2, "18446744073709551616", 1.5, "7.5"])
def test_seed_stays_exact_everywhere(value: Any) -> None:
    assert "from -1 to 9007199254740991" in rejected(SCHEMA.options["generation.seed"], value).message("en")


def test_a_number_of_thousands_of_digits_is_refused_and_not_printed() -> None:
    line = rejected(SCHEMA.options["generation.seed"], 16**9000).message("en")
    assert len(line) < 250


@pytest.mark.parametrize(("text", "value"), [("true", True), ("Off", False), (" yes ", True), ("0", False)])
def test_truth_values_as_words(text: str, value: bool) -> None:
    assert SCHEMA.options["vae.enable_tiling"].check(text, "environment") is value


@pytest.mark.parametrize("value", [1, 0, "maybe", None, [], 0.0])
def test_only_truth_values_are_truth_values(value: Any) -> None:
    assert "true, false" in rejected(SCHEMA.options["vae.enable_tiling"], value).message("en")


def test_auto_only_where_it_is_allowed() -> None:
    assert SCHEMA.options["generation.width"].check(AUTO, "form") == AUTO
    rejected(SCHEMA.options["generation.seed"], AUTO)


def test_a_list_may_be_written_with_commas() -> None:
    option = SCHEMA.options["ui.size_presets"]
    assert option.check("1:1, 16:9,,1280x720", "environment") == ("1:1", "16:9", "1280x720")
    assert option.check(["1:1"], "form") == ("1:1",)
    rejected(option, [1, 2])


def test_a_prompt_keeps_every_character() -> None:
    prompt = "👩‍🚀 שלום\nمرحبا\r\n红色的房子\t{x} %s \\"
    assert SCHEMA.options["generation.prompt"].check(prompt, "form") == prompt


def test_a_prompt_may_not_be_endless() -> None:
    line = rejected(SCHEMA.options["generation.prompt"], "啊" * 100_000).message("zh")
    assert len(line) < 250
    assert "10000" in line


# -- unknown keys ----------------------------------------------------------------------------------------------------


@given(key=st.text(max_size=60))
def test_an_unknown_key_is_named_with_the_nearest_known_one(key: str) -> None:
    assume(SCHEMA.canonical(key) not in SCHEMA.options)
    with pytest.raises(UnknownOptionError) as caught:
        SCHEMA.find(key, "configs/local.yaml")
    assert caught.value.values["nearest"] in SCHEMA.options
    assert "configs/local.yaml" in caught.value.message("zh")


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [
        ("vae.enable_tilling", "vae.enable_tiling"),
        ("vae.tile_sample_min_sise", "vae.tile_sample_min_size"),
        ("generation.widht", "generation.width"),
        ("pipeline.num_inference_step", "generation.num_inference_steps"),
        ("Seed", "generation.seed"),
        ("attention_backends", "transformer.attention_backend"),
    ],
)
def test_nearest_key_of_common_mistakes(typo: str, nearest: str) -> None:
    assert SCHEMA.nearest(typo) == nearest


@pytest.mark.parametrize(
    ("search", "key"),
    [
        ("sampler", "scheduler.shift"),
        ("采样器", "scheduler.shift"),
        ("denoise", "img2img.denoising_strength"),
        ("重绘", "img2img.denoising_strength"),
        ("hires fix", "hires.enabled"),
        ("vram", "memory.low_vram"),
        ("显存", "memory.low_vram"),
        ("tile overlap", "vae.tile_overlap_factor"),
    ],
)
def test_search_knows_synonyms(search, key):
    assert SCHEMA.options[key].matches(search)
    assert not SCHEMA.options[key].matches(search + " nothing-of-it")


def test_needs_name_options_and_values_that_there_are():
    for option in SCHEMA.options.values():
        for key, values in option.needs:
            assert all(SCHEMA.options[key].check(value, "needs") == value for value in values), option.key


def test_unmet_needs():
    overlap = SCHEMA.options["vae.tile_overlap_factor"]
    assert overlap.unmet({"vae.enable_tiling": False}) == ("vae.enable_tiling", (True,))
    assert overlap.unmet({"vae.enable_tiling": True, "vae.tiling_mode": "exact"}) == ("vae.tiling_mode", ("blend",))
    assert overlap.unmet({"vae.enable_tiling": True, "vae.tiling_mode": "blend"}) is None
