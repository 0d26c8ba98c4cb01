"""Five layers become one set of values, and nothing is dropped in silence on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.config.loader import Settings, load_settings, parse_yaml, to_yaml
from core.config.options import SCHEMA
from core.config.schema import Option
from core.errors import ConfigFileError, InputError, OptionError, UnknownOptionError

STEPS = "generation.num_inference_steps"


def write(configs: Path, name: str, text: str) -> None:
    (configs / name).write_text(text, encoding="utf-8")


def only_problem(settings: Settings) -> InputError:
    assert len(settings.problems) == 1, [str(problem) for problem in settings.problems]
    return settings.problems[0]


def allowed_values(option: Option) -> st.SearchStrategy[Any]:
    """Values that the option takes."""
    if option.type == "bool":
        return st.booleans()
    if option.type == "choice":
        return st.sampled_from(option.choices)
    if option.key == "inpaint.boxes":
        sides, edges = st.integers(8, 9999), st.integers(0, 9999)
        return st.lists(st.builds("{}x{}+{}+{}".format, sides, sides, edges, edges), max_size=4).map(tuple)
    if option.type == "list":
        known = option.entries is not None  # entries with a grammar of their own: here names, each once
        marks = st.characters(exclude_characters=",:" if known else ",", exclude_categories=["C", "Z"])
        return st.lists(st.text(marks, min_size=1, max_size=9), max_size=4, unique=known).map(tuple)
    if option.type == "str":
        return st.text(max_size=min(200, int(option.maximum or 200)))
    assert option.minimum is not None and option.maximum is not None
    if option.type == "int":
        return st.integers(int(option.minimum), int(option.maximum))
    return st.floats(option.minimum, option.maximum)


some_values = st.fixed_dictionaries({}, optional={key: allowed_values(o) for key, o in SCHEMA.options.items()})


# -- precedence ------------------------------------------------------------------------------------------------------


def test_without_any_file_all_is_default(configs: Path) -> None:
    settings = load_settings(configs)
    assert dict(settings.values) == SCHEMA.defaults()
    assert set(settings.origins.values()) == {"default"}
    assert settings.problems == ()


def test_each_layer_wins_over_those_below_it(configs: Path) -> None:
    (configs / "profiles" / "mine.yaml").write_text("steps: 12")
    layers: list[tuple[str, Any]] = []

    def settled() -> tuple[str, Any]:
        inputs: dict[str, Any] = {"environment": {}, "overrides": {}}
        for name, value in layers:
            inputs[name] = value
        settings = load_settings(configs, **inputs)
        assert settings.problems == ()
        return settings.origins[STEPS], settings[STEPS]

    assert settled() == ("default", "auto")
    write(configs, "config.yaml", "generation: {num_inference_steps: 11}")
    assert settled() == ("configs/config.yaml", 11)
    layers.append(("profile", "mine"))
    assert settled() == ("profiles/mine.yaml", 12)
    write(configs, "local.yaml", "generation: {num_inference_steps: 13}")
    assert settled() == ("configs/local.yaml", 13)
    layers.append(("environment", {"ZDARKROOM_GENERATION__NUM_INFERENCE_STEPS": "14"}))
    assert settled() == ("environment", 14)
    layers.append(("overrides", {"steps": "15"}))
    assert settled() == ("command line", 15)


def test_profile_may_be_named_in_four_places(configs: Path) -> None:
    for name, steps in (("one", 1), ("two", 2), ("three", 3), ("four", 4)):
        (configs / "profiles" / f"{name}.yaml").write_text(f"steps: {steps}")
    write(configs, "local.yaml", "profile: one")
    assert load_settings(configs)[STEPS] == 1
    environment = {"ZDARKROOM_PROFILE": "two"}
    assert load_settings(configs, environment)[STEPS] == 2
    assert load_settings(configs, environment, {"profile": "three"})[STEPS] == 3
    assert load_settings(configs, environment, {"profile": "three"}, profile="four")[STEPS] == 4


def test_an_unknown_profile_names_the_known_ones(configs: Path) -> None:
    line = only_problem(load_settings(configs, profile="fast")).message("en")
    assert "fast" in line
    assert "draft, guide, low_memory" in line


def test_a_bad_value_leaves_the_layer_below_in_force(configs: Path) -> None:
    write(configs, "config.yaml", "steps: 9")
    write(configs, "local.yaml", "steps: 10000\nseed: 5")
    settings = load_settings(configs)
    assert (settings[STEPS], settings["generation.seed"]) == (9, 5)
    line = only_problem(settings).message("en")
    assert line.startswith("configs/local.yaml: generation.num_inference_steps = 10000 cannot be used")
    assert "from 1 to 200" in line


def test_every_problem_is_kept_and_the_first_is_raised(configs: Path) -> None:
    write(configs, "local.yaml", "steps: none\nwidht: 3\nvae: {enable_tiling: perhaps}")
    settings = load_settings(configs)
    assert [type(problem) for problem in settings.problems] == [OptionError, UnknownOptionError, OptionError]
    with pytest.raises(OptionError):
        settings.raise_problems()


@given(values=some_values)
def test_values_of_every_option_come_through_as_text(values: dict[str, Any]) -> None:
    """What the environment can say: everything, as text."""
    environment = {
        f"ZDARKROOM_{key.upper().replace('.', '__')}": ",".join(value) if isinstance(value, tuple) else str(value)
        for key, value in values.items()
    }
    settings = load_settings(Path("no such folder"), environment)
    assert settings.problems == ()
    assert {key: settings[key] for key in values} == values


@pytest.mark.parametrize("text", ["123", "true", "~", "2026-01-01", "[a]", "a: b", "", "- x", "null"])
def test_text_of_the_environment_stays_text(text: str) -> None:
    settings = load_settings(Path("no such folder"), {"ZDARKROOM_GENERATION__PROMPT": text})
    assert settings.problems == ()
    assert settings["generation.prompt"] == text


def test_other_variables_are_none_of_ours_and_misspelt_ones_are_told(configs: Path) -> None:
    settings = load_settings(configs, {"PATH": "/bin", "STEPS": "3", "ZDARKROOM_VAE__ENABLE_TILNG": "true"})
    line = only_problem(settings).message("en")
    assert "environment: there is no option vae.enable_tilng; the nearest is vae.enable_tiling" in line


# -- files that cannot be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vae:\n\tenable_tiling: true", ["line 2", "tab"]),
        ("a: [1, 2", ["line 1"]),
        ("just words", ["holds str"]),
        ("- 1\n- 2", ["holds list"]),
        ("seed: 1\nseed: 2", ["line 2", "seed", "twice"]),
        ("seed: 2026-13-45", ["no sense"]),
        ("seed: !!python/object/apply:os.system [echo]", ["line 1", "python/object"]),
        ("a: &a {b: *a}", ["nested"]),
        ("[" * 5000, ["nested"]),
        ("a: \x07", ["special characters"]),
    ],
)
def test_broken_yaml_says_where_and_what(configs: Path, text: str, words: list[str]) -> None:
    write(configs, "local.yaml", text)
    settings = load_settings(configs)
    problem = only_problem(settings)
    assert isinstance(problem, ConfigFileError)
    for word in ["configs/local.yaml", *words]:
        assert word in problem.message("en")
        assert "\n" not in problem.message("zh")
    assert dict(settings.values) == SCHEMA.defaults()


def test_a_file_that_is_not_utf8_and_one_that_is_a_folder(configs: Path) -> None:
    (configs / "config.yaml").write_bytes("prompt: 房子".encode("gb18030"))
    (configs / "local.yaml").mkdir()
    lines = [problem.message("en") for problem in load_settings(configs).problems]
    assert "UTF-8" in lines[0]
    assert "configs/local.yaml" in lines[1]


@given(text=st.text(max_size=80) | st.text("ab:- \n\t[]{}&*!|>'\"#%@`0123.,?~<=", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        parsed = parse_yaml(text, "a.yaml")
    except ConfigFileError as error:
        assert error.message("en").startswith("a.yaml: ")
    else:
        assert all(isinstance(key, str) for key in parsed)


# -- writing ---------------------------------------------------------------------------------------------------------


@given(values=some_values)
@example(values={"generation.prompt": "\x85"})
@example(values={"generation.prompt": "a \u2028 b: \u2029"})
def test_yaml_says_the_same_when_it_is_read_back(values: dict[str, Any]) -> None:
    read = parse_yaml(to_yaml(values), "a.yaml")
    assert {key: SCHEMA.options[key].check(value, "a.yaml") for key, value in read.items()} == values


def test_yaml_is_nested_and_keeps_chinese() -> None:
    assert to_yaml({"vae.enable_tiling": True, "generation.prompt": "雪山"}) == (
        "vae:\n  enable_tiling: true\ngeneration:\n  prompt: 雪山\n"
    )


# -- former keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("guard: {retry: false}", False), ("guard.retry: false\nprecision: {auto_retry: false}", False)],
)
def test_a_former_key_in_a_file_sets_its_option(configs: Path, text: str, value: object) -> None:
    (configs / "local.yaml").write_text(text, encoding="utf-8")
    settings = load_settings(configs)
    assert settings.problems == () and settings["precision.auto_retry"] is value


def test_a_former_and_a_present_key_that_differ_are_a_problem_that_names_both(configs: Path) -> None:
    (configs / "local.yaml").write_text("guard: {retry: false}\nprecision: {auto_retry: true}", encoding="utf-8")
    (problem,) = load_settings(configs).problems
    assert all(word in problem.message("zh") for word in ("configs/local.yaml", "guard.retry", "precision.auto_retry"))


def test_a_present_key_on_the_command_line_wins_over_a_former_one_in_a_file(configs: Path) -> None:
    (configs / "local.yaml").write_text("guard: {retry: false}", encoding="utf-8")
    settings = load_settings(configs, overrides={"precision.auto_retry": True})
    assert settings.problems == () and settings["precision.auto_retry"] is True


def test_own_files_may_have_aliases_and_pasted_text_may_not() -> None:
    text = "vae: &shared {enable_tiling: true}\ncopy: *shared"
    assert parse_yaml(text, "local.yaml", aliases=True)["copy.enable_tiling"] is True
    with pytest.raises(ConfigFileError, match="aliases"):
        parse_yaml(text, "form")
