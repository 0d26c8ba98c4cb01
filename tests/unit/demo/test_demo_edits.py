"""Edits of the embedded world: what they change, where the parts stand after them, how they are said, how they are judged."""

import random
import re

import numpy as np
import pytest

from core.demo import captions, edit_captions, edits, evaluate_edits, renderer
from core.demo.scenes import Scene

MEADOW = Scene("house", "red", "left", "meadow", "day", celestial="sun")


def made(kind, count=40):
    rng = random.Random(5)
    return [edits.sample_edit(rng, kind, held_out=index % 2 == 1) for index in range(count)]


@pytest.mark.parametrize("kind", edits.EDITS)
def test_an_edit_changes_what_it_names_and_keeps_the_rest(kind):
    for index, edit in enumerate(made(kind)):
        before, after = edit.before.attributes(), edit.after.attributes()
        assert edit.after.held_out == (index % 2 == 1)
        assert before != after and not edit.changed & edit.kept
        if not (edit.kind == "remove" and edit.thing == "kind"):  # then the other object is the first
            assert all(before[name] == after[name] for name in edit.kept)
            assert any(before[name] != after[name] for name in edit.changed)


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_an_instruction_says_the_change_in_many_words(language):
    rng, seen = random.Random(6), set()
    for kind in edits.EDITS:
        for edit in made(kind):
            text, named = edit_captions.instruction(edit, rng, language)
            assert text and "{" not in text and named
            assert (re.search("[\u4e00-\u9fff]", text) is not None) == (language == "zh")
            assert all(value in edit_captions.classes(name) for name, value in named.items())
            seen.add(text)
    assert len(seen) > 150


def test_a_colour_that_is_not_named_is_not_asked_for():
    edit = edits.Edit(
        "add", "kind2", MEADOW, Scene("house", "red", "left", "meadow", "day", "none", "sun", "clear", "car", "blue")
    )
    assert edit_captions.asked(edit, {"kind": "car"}) == {"kind2"}
    assert edit_captions.asked(edit, {"kind": "car", "color": "blue"}) == {"kind2", "color2"}


def test_only_the_named_object_is_drawn_otherwise():
    edit = edits.Edit("recolour", "kind", MEADOW, Scene("house", "blue", "left", "meadow", "day", celestial="sun"))
    before = renderer.layout(MEADOW)
    one = np.asarray(edits.draw(edit.before, before, (128, 128), 3)).astype(int)
    other = np.asarray(edits.draw(edit.after, edits.layout_after(before, edit), (128, 128), 3)).astype(int)
    columns = np.flatnonzero(np.abs(one - other).max((0, 2)))
    assert 0 <= columns.min() < columns.max() < 84, "the house stands in the left half"


def test_the_sun_stays_unless_an_object_comes_before_it():
    before = renderer.layout(MEADOW)
    centre = edits.Edit("move", "kind", MEADOW, Scene("house", "red", "centre", "meadow", "day", celestial="sun"))
    right = edits.Edit("move", "kind", MEADOW, Scene("house", "red", "right", "meadow", "day", celestial="sun"))
    assert edits.layout_after(before, centre).celestial == before.celestial
    moved = edits.layout_after(before, right)
    assert moved.celestial != before.celestial
    back = edits.reversed_edit(right, before, moved)
    assert back is not None and edits.layout_after(moved, back) == before


def test_true_edits_pass_and_copies_keep_all_but_change_nothing():
    asked = {question.prompt: question for question in evaluate_edits.questions(24, seed=4)}

    def true(source, prompt, seed):
        edit = asked[prompt].edit
        return edits.draw(edit.after, edits.layout_after(renderer.layout(edit.before), edit), source.size, seed)

    good = evaluate_edits.evaluate(true, 24, 4, 128, 128)
    assert good.passed, good.table()
    bad = evaluate_edits.evaluate(lambda source, prompt, seed: source, 24, 4, 128, 128)
    assert not bad.passed and bad.rate("changed") < 0.1 and bad.rate("kept") > 0.8
    assert set(bad.as_dict()["languages"]) == {"zh", "en"} and "FAILED" in bad.table()
