"""A caption says what it claims to say, in its language."""

import random

import pytest

from core.demo import captions, scenes


def words_for(name: str, value: str, language: str) -> list[str]:
    """Every way in which the vocabulary says one value."""
    if name in ("kind", "kind2"):
        words = captions.KINDS[language][value]
    elif name in ("color", "color2"):
        words = captions.COLORS[language][value]
    elif name == "position":
        words = captions.POSITIONS[language][value]
    else:
        tags = captions.ENGLISH_TAGS.get(name, {}).get(value, ()) if language == "en" else ()
        words = (*captions.SURROUNDINGS[language][name][value], *tags)
    return [form for word in words for form in (word.lower(), word.translate(captions.TRADITIONAL))]


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_every_named_attribute_is_in_the_text(language):
    rng = random.Random(3)
    for _ in range(400):
        scene = scenes.sample(rng, None)
        text, named = captions.caption(scene, rng, language)
        assert text
        for name in named:
            words = words_for(name, getattr(scene, name), language)
            assert any(word in text.lower() for word in words), (text, name, words)


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_no_attribute_is_said_but_not_reported(language):
    rng = random.Random(4)
    for _ in range(400):
        scene = scenes.sample(rng, None)
        text, named = captions.caption(scene, rng, language)
        if "kind" not in named:
            assert not any(word in text.lower() for word in words_for("kind", scene.kind, language))


def test_tables_cover_every_value_in_both_languages():
    for language in captions.LANGUAGES:
        for name, values in scenes.ATTRIBUTES.items():
            for value in values:
                if not (name in ("kind2", "color2") and value == scenes.NONE):
                    assert words_for(name, value, language)


def test_same_generator_state_gives_the_same_caption():
    scene = scenes.sample(random.Random(1))
    assert captions.caption(scene, random.Random(2)) == captions.caption(scene, random.Random(2))


def test_captions_vary():
    rng = random.Random(0)
    scene = scenes.sample(rng)
    assert len({captions.caption(scene, rng)[0] for _ in range(200)}) > 150
