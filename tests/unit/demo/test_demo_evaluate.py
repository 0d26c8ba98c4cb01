"""The judging itself, on drawings in place of a model."""

import random

from PIL import Image

from core.demo import captions, evaluate, renderer, scenes


def test_questions_are_held_out_half_chinese_and_repeatable():
    asked = evaluate.questions(40, seed=1)
    assert asked == evaluate.questions(40, seed=1)
    assert sum(q.language == "zh" for q in asked) == 20
    assert all(q.wanted for q in asked)


def test_perfect_drawings_pass_and_a_grey_image_fails():
    by_prompt = {}
    rng = random.Random(9)
    for index in range(60):
        scene = scenes.sample(rng, held_out=True)
        language = captions.LANGUAGES[index % 2]
        prompt, _ = captions.caption(scene, rng, language)
        rng.randrange(2**31)
        by_prompt[prompt] = scene

    def perfect(prompt: str, seed: int, width: int, height: int) -> Image.Image:
        return renderer.render(by_prompt[prompt], width, height, random.Random(seed))

    def grey(prompt: str, seed: int, width: int, height: int) -> Image.Image:
        return Image.new("RGB", (width, height), (128, 128, 128))

    good = evaluate.evaluate(perfect, prompts=60, seed=9)
    assert good.average >= 0.98, good.table()
    bad = evaluate.evaluate(grey, prompts=60, seed=9)
    assert not bad.passed
    assert bad.average < 0.6
