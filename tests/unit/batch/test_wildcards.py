"""Templates of prompts: what every seed may make of them, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.batch.templates import Choice, File, Parts, is_template, parse
from core.batch.wildcard_files import WildcardFiles
from core.batch.wildcards import expand
from core.config.loader import PROJECT_ROOT
from core.errors import WildcardError

FILES = {
    "color": ["red", "blue"], "deep": ["{a|__color__}", "b"], "one-line": ["x"], "said": ["${x}"], "bad": ["{a|b"],
    "col*": ["red", "blue"], "de*": ["{a|__color__}", "b"],
}  # fmt: skip
SHIPPED = PROJECT_ROOT / "configs" / "prompts" / "wildcards"


def lines(name: str) -> Sequence[str]:
    if name not in FILES:
        raise WildcardError(value=name, allowed="no")
    return FILES[name]


def escaped(text: str) -> str:
    return "".join("\\" + sign if sign in "{}|_$\\" else sign for sign in text)


plain = st.text(st.sampled_from("ab 红{}|_$\\,()"), max_size=8)
templates = st.recursive(  # (written, all that it may become)
    plain.map(lambda text: (escaped(text), {text})) | st.sampled_from([("__color__", {"red", "blue"})]),
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(
            lambda options: (
                "{" + "|".join(written for written, _ in options) + "}",
                {text for _, texts in options for text in texts},
            )
        )
        | st.tuples(inner, inner).map(
            lambda pair: (pair[0][0] + pair[1][0], {a + b for a in pair[0][1] for b in pair[1][1]})
        )
    ),
    max_leaves=6,
)


@given(templates, st.integers(0, 2**53))
def test_a_template_becomes_one_of_the_texts_that_it_means(template: tuple[str, set[str]], seed: int) -> None:
    written, possible = template
    assert expand(written, seed, lines) in possible
    assert expand(written, seed, lines) == expand(written, seed, lines)


@given(plain, st.integers())
def test_escaped_text_is_text(text: str, seed: int) -> None:
    assert expand(escaped(text), seed, lines) == text and not is_template(escaped(text))


@given(st.text(st.sampled_from("a_ {}|\\color中-/.$#@=:2*(")), st.integers(0, 9))
def test_any_text_is_expanded_or_refused_with_a_reason_in_both_languages(text: str, seed: int) -> None:
    try:
        assert isinstance(expand(text, seed, lines), str)
    except WildcardError as error:
        assert error.message("en") != error.message("zh") and "\n" not in error.message("zh")


@given(templates)
def test_parsing_and_writing_again_gives_the_same_parts(template: tuple[str, set[str]]) -> None:
    def written(parts: Parts) -> str:
        return "".join(map(part_of, parts))

    def part_of(part: str | Choice | File) -> str:
        if isinstance(part, str):
            return escaped(part)
        return f"__{part.name}__" if isinstance(part, File) else "{" + "|".join(map(written, part.options)) + "}"

    parts = parse(template[0])
    assert parse(written(parts)) == parts


def test_seeds_reach_every_choice_and_the_same_seed_the_same_one_for_ever() -> None:
    template = "a {red|green|blue} {house|}, __color__"
    made = {expand(template, seed, lines) for seed in range(200)}
    assert len(made) == 12
    assert [expand(template, seed, lines) for seed in range(4)] == [
        "a green , blue",
        "a green , blue",
        "a green house, blue",
        "a green house, red",
    ], "what a stored template and seed make must not change"


@pytest.mark.parametrize(
    "text",
    [
        "no braces", "a (b:1.2), c|d", "5__5 a__", "____", "a _b_ \\( c \\)", "a } b", "a { b", "{abc}",
        "5$ ${ ${1}", "#1 of #all", "{" * 5000, "{" * 300 + "}" * 300,
        '{"subject": "a red house", "time": "day"}', '{"a": "x|y", "b": "\\\\n", "c": [{"d": "2$$e"}]}',
    ],
)  # fmt: skip
def test_text_and_json_are_what_they_were(text: str) -> None:
    assert expand(text, 1, lines) == text and not is_template(text)


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("{2$$a|b|c}", {"a,b", "b,a", "a,c", "c,a", "b,c", "c,b"}),
        ("{1-2$$ and $$a|b}", {"a", "b", "a and b", "b and a"}),
        ("{-2$$, $$a|b}", {"a", "b", "a, b", "b, a"}),
        ("{2-$$+$$a|b}", {"a+b", "b+a"}),
        ("{0-1$$a|b}", {"", "a", "b"}),
        ("{9$$a|b}", {"a,b", "b,a"}),
        ("{2$$|$$a|b}", {"a|b", "b|a"}),
        ("{0.5::a|0::b|.5::c}", {"a", "c"}),
        ("{2$$3::a|0::b|1::c}", {"a,c", "c,a"}),
        ("{~a|b}", {"a", "b"}),
        ("{2$$__color__}", {"red,blue", "blue,red"}),
        ("__col*__ __de*__", {f"{color} {deep}" for color in ("red", "blue") for deep in ("a", "red", "blue", "b")}),
        ("{{a|b} c|d}", {"a c", "b c", "d"}),
        ("${x={a|b}} ${x} ${x}", {"a a", "a b", "b a", "b b"}),
        ("${x=!{a|b}} ${x} ${x}", {"a a", "b b"}),
        ("${x=a}${x?=b}${y?=c}${x}${y}", {"ac"}),
        ("${x:{a|b}}", {"a", "b"}),
        ("__said(x=one {a|b})__", {"one a", "one b"}),
        ("${x=a} __said__", {"a"}),
        ("%{photo of ..., 4k$$a {b|c}}", {"photo of a b, 4k", "photo of a c, 4k"}),
        ("# first\na {b|c} # last\n# {\nd", {"a b\nd", "a c\nd"}),
        ("{\n  a\n  | b # {\n}", {"a", " b"}),
        ('{"c": "{a|b}", "d": "\\n"}', {'{"c": "a", "d": "\\n"}', '{"c": "b", "d": "\\n"}'}),
        (r"\{a|b\} \__color\__ \${x}", {"{a|b} __color__ ${x}"}),
    ],
)  # fmt: skip
def test_grammar_of_sd_dynamic_prompts(template: str, made: set[str]) -> None:
    assert {expand(template, seed, lines) for seed in range(80)} == made


def test_weights_are_shares() -> None:
    generated = [expand("{3::a|1::b}", seed, lines) for seed in range(2000)]
    assert 0.72 < generated.count("a") / 2000 < 0.78


def test_cyclic_options_follow_the_seed() -> None:
    assert [expand("{@a|b|c} __@color__", seed, lines) for seed in (3, 4, 5)] == ["a blue", "b red", "c blue"]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a {b|c", "{b|c (character 3) cannot"),
        ("one\na {2$$b", "{2$$b (line 2, character 3) cannot"),
        ("${x=a", "${x=a (character 1) cannot"),
        ("{x$$a|b}", "a number or a range of at most 100"),
        ("{3-1$$a|b}", "{3-1$$a|b} (character 1)"),
        ("{101$$a|b}", "at most 100"),
        ("{-1::a|b}", "weights of 0 and above"),
        ("{0::a|0::b}", "one of them above 0"),
        ("{!a|b}", "use an X/Y plot"),
        ("a ${x}", "${x} (character 3) cannot"),
        ("${x=${x}}${x}", "without circular references"),
        ("%{a ... b ...$$c}", "three dots"),
        ("__../../secret__", "of letters, digits"),
        ("__Color__", "Color cannot"),
        ("__bad__", "{a|b (character 1), in __bad__ cannot"),
        ("{a|" * 30 + "}" * 30, "at most 20 levels"),
        ("{a|b}" * 1001, "at most 1000"),
    ],
)
def test_what_cannot_be_meant_is_refused(template: str, words: str) -> None:
    with pytest.raises(WildcardError, match=re.escape(words)):
        expand(template, 1, lines)


def test_files_that_lead_back_to_themselves_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("__b__")
    (tmp_path / "b.txt").write_text("__a__ __a__")
    with pytest.raises(WildcardError, match="a > b > a cannot"):
        expand("__a__", 1, WildcardFiles(tmp_path).lines)


def test_ones_own_files_win_and_names_are_never_paths(tmp_path: Path) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    for folder in (own, shipped):
        folder.mkdir()
        (folder / "color.txt").write_text(f"# a comment\n\n {folder.name} \n", encoding="utf-8")
    (own / "Not A Name.txt").write_text("x")
    (tmp_path / "secret.txt").write_text("secret")
    files = WildcardFiles(shipped, own)
    assert files.names() == ("color",) and list(files.lines("color")) == ["own"]
    for name in ("../secret", "Not A Name", "", "a/b", "nothere", "../*", "x*"):
        with pytest.raises(WildcardError, match="allowed: __color__"):
            files.lines(name)


def test_folders_and_patterns(tmp_path: Path) -> None:
    for name, line in (
        ("art/oil", "oil"),
        ("art/deep/ink", "ink"),
        ("颜色-暖", "红"),
        ("颜色-冷", "蓝"),
        (".hidden", "x"),
    ):
        path = tmp_path / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line, encoding="utf-8")
    files = WildcardFiles(tmp_path)
    assert files.names() == ("art/deep/ink", "art/oil", "颜色-冷", "颜色-暖")
    assert [list(files.lines(name)) for name in ("art/oil", "art/*", "art/**", "颜色*", "**/ink")] == [
        ["oil"], ["oil"], ["ink", "oil"], ["蓝", "红"], ["ink"]]  # fmt: skip
    assert {expand("一座__颜色*__的房子", seed, files.lines) for seed in range(9)} == {"一座红的房子", "一座蓝的房子"}


@pytest.mark.parametrize("content", [b"", b"# only a comment\n", b"\xff\xfe", b"x" * 1_000_001])
def test_a_file_without_usable_lines_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(WildcardError, match=r"bad\.txt"):
        WildcardFiles(tmp_path).lines("bad")


def test_every_line_of_the_shipped_files_can_be_expanded() -> None:
    files = WildcardFiles(SHIPPED)
    assert {"color", "thing", "scene", "scene-zh"} <= set(files.names())
    for name in files.names():
        for line in files.lines(name):
            assert "__" not in expand(line, 1, files.lines)


STRUCTURED = """
artists:
  finnish: [Akseli, "3::Albert"]
  dutch:
    - {text: "{Jan|Piet}", weight: 2}
    - 0::never
mood: calm
years: [1900, 1950]
"""


def test_yaml_and_json_files_have_names_by_their_keys(tmp_path: Path) -> None:
    (tmp_path / "any name.yaml").write_text(STRUCTURED, encoding="utf-8")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "hats.json").write_text('["cap", "{2::bowler|2::boater}"]', encoding="utf-8")
    (tmp_path / "mood.txt").write_text("wild\n", encoding="utf-8")  # a text file wins
    files = WildcardFiles(tmp_path)
    assert files.names() == ("artists/dutch", "artists/finnish", "hats", "mood", "years")
    made = [expand("__artists/finnish__", seed, files.lines) for seed in range(400)]
    assert set(made) == {"Akseli", "Albert"} and 0.65 < made.count("Albert") / 400 < 0.85
    assert {expand("__artists/dutch__", seed, files.lines) for seed in range(50)} == {"Jan", "Piet"}
    assert {expand("__artists/*__", seed, files.lines) for seed in range(99)} == {"Akseli", "Albert", "Jan", "Piet"}
    assert {expand("{2$$__years__}", seed, files.lines) for seed in range(9)} == {"1900,1950", "1950,1900"}
    assert expand("__mood__", 1, files.lines) == "wild"


@pytest.mark.parametrize(("content", "said"), [("a: [b", "line 2"), ("a: {b: [[c]]}", "neither a text")])
def test_a_broken_yaml_file_is_named_by_what_needs_it(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "broken.yaml").write_text(content, encoding="utf-8")
    (tmp_path / "fine.txt").write_text("x\n", encoding="utf-8")
    files = WildcardFiles(tmp_path)
    assert expand("__fine__", 1, files.lines) == "x"
    with pytest.raises(WildcardError, match=r"broken\.yaml") as caught:
        files.lines("a/b")
    assert said in caught.value.message("en")


def test_yaml_references_do_not_grow_without_end(tmp_path: Path) -> None:
    levels = "\n".join(f"l{k}: &l{k} {{{', '.join(f'k{n}: *l{k - 1}' for n in range(10))}}}" for k in range(1, 9))
    (tmp_path / "bomb.yaml").write_text(f"l0: &l0 [x, y]\n{levels}\n", encoding="utf-8")
    with pytest.raises(WildcardError, match="lines"):
        WildcardFiles(tmp_path).lines("none")
