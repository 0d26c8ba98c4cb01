"""Tokens of a prompt are counted as the pipeline's own tokenizer does, without loading the model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from core.config.loader import load_settings
from core.models.token_counter import count_tokens
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
    assert count_tokens(demo, prompt, 512) == (len(tokenizer([text]).input_ids[0]), 512)


def test_a_model_without_its_tokenizer_here_is_not_counted(demo, tmp_path):
    assert count_tokens(replace(demo, path=str(tmp_path)), "a house", 512) is None
    assert count_tokens(replace(demo, path=None), "a house", 512) is None
