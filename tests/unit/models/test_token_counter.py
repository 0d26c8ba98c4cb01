"""Tokens of a prompt are counted as the pipeline's own tokenizer does, without loading the model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from core.config.loader import load_settings
from core.models.token_counter import CHUNK, LIMIT, count_clip, count_tokens, cut_decision
from core.studio.bootstrap import build_studio


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    outputs = str(tmp_path_factory.mktemp("outputs"))
    return build_studio(load_settings(overrides={"output.directory": outputs})).catalog.find("demo")


@pytest.mark.parametrize("prompt", ["", "a red house", "红色的房子，日落，雪山 🌄", "x " * 700])
def test_as_transformers_counts(demo, prompt):
    tokenizer = AutoTokenizer.from_pretrained(f"{demo.path}/tokenizer")
    message = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    counted = count_tokens(demo, prompt, {LIMIT: 512})
    assert (counted.used, counted.limit) == (len(tokenizer([text]).input_ids[0]), 512)
    assert counted.over is (counted.used > 512)


def test_what_is_cut(demo):
    """Nothing at exactly the limit; one token less cuts the template alone, then the prompt's end."""
    prompt = "a red house, day"
    used = count_tokens(demo, prompt, {LIMIT: 512}).used
    whole, template, words = (count_tokens(demo, prompt, {LIMIT: used - less}) for less in (0, 1, 7))
    assert not whole.over and cut_decision(LIMIT, False, whole) == ()
    assert template.over and template.cut == "" and prompt.endswith(words.cut) and words.cut
    (said,) = cut_decision(LIMIT, True, words)
    assert (
        said.reason["en"].startswith(f"the negative prompt has {used} tokens") and f'"{words.cut}"' in said.reason["en"]
    )
    assert "反向提示词共" in said.reason["zh"]
    assert "all of the prompt was read" in cut_decision(LIMIT, False, template)[0].reason["en"]


def test_clip_counts_words_in_chunks(demo):
    """The embedded tokenizer stands in for CLIP's: only the counting differs."""
    clip = replace(demo, cannot={LIMIT: {}})
    one = count_tokens(clip, "a (red:1.2) house <lora:ink:1>", {"generation.prompt_syntax": "a1111"})
    plain = count_tokens(clip, "a red house", {"generation.prompt_syntax": "a1111"})
    assert one.used >= plain.used and one.limit == CHUNK and not one.over
    two = count_tokens(clip, "a BREAK " + "house, " * 90, {"generation.prompt_syntax": "a1111"})
    assert two.limit == CHUNK * (1 + -(-(two.used - 1) // CHUNK)) and not two.cut
    off = count_tokens(clip, "house, " * 90, {"generation.prompt_syntax": "off"})
    assert off.limit == 77 and off.over and off.cut.lstrip().startswith(("house", ","))


@pytest.mark.parametrize(("tokens", "cut"), [(76, 0), (77, 0), (78, 1), (154, 77)])
@pytest.mark.parametrize("negative", [False, True])
def test_clip_without_syntax_reads_77_tokens(tokens, cut, negative):
    """At exactly the limit, which counts CLIP's begin and end, nothing is cut; beyond it the end is named, of both prompts."""
    words = tokens - 2
    offsets = [(0, 0), *((k, k + 1) for k in range(words)), (0, 0)]
    counted = count_clip("x" * words, offsets)
    assert (counted.used, counted.limit, counted.cut) == (tokens, 77, "x" * cut)
    said = cut_decision("generation.negative_prompt" if negative else "generation.prompt", negative, counted)
    assert [(one.requested, one.effective) for one in said] == ([(tokens, 77)] if cut else [])


@pytest.mark.parametrize(("tokens", "limit"), [(75, 75), (76, 150), (150, 150), (151, 225)])
def test_clip_with_syntax_has_chunks_of_75(demo, tokens, limit):
    clip = replace(demo, cannot={LIMIT: {}})
    counted = count_tokens(clip, "x" * tokens, {"generation.prompt_syntax": "a1111"})
    assert (counted.used, counted.limit, counted.over, counted.cut) == (tokens, limit, False, "")


def test_a_model_without_its_tokenizer_here_is_not_counted(demo, tmp_path):
    assert count_tokens(replace(demo, path=str(tmp_path)), "a house", {LIMIT: 512}) is None
    assert count_tokens(replace(demo, path=None), "a house", {LIMIT: 512}) is None
