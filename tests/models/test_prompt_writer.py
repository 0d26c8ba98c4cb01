"""Prompts by the text encoder that is loaded: token for token those of transformers, streamed, seeded, cancelled."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from core.config.loader import load_settings
from core.errors import UnavailableError
from core.inference import prompt_writer
from core.jobs.worker_commands import PromptAnswer, PromptCommands
from core.models.catalog import Catalog
from core.models.model_paths import EMBEDDED
from core.studio.prompt_help import encoder_problem

SHAPE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "tie_word_embeddings": True, "initializer_range": 0.4,
}  # fmt: skip


@pytest.fixture(scope="module")
def toy():
    """A random language model with tied embeddings, its encoder alone, and a pipeline of it."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "tokenizer")
    whole = Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **SHAPE)).eval()
    encoder = Qwen3Model(whole.config).eval()
    encoder.load_state_dict(whole.model.state_dict())
    pipeline = SimpleNamespace(tokenizer=tokenizer, text_encoder=encoder, _execution_device=torch.device("cpu"))
    return SimpleNamespace(whole=whole, encoder=encoder, pipeline=pipeline)


@pytest.mark.parametrize("sampling", [{"do_sample": False}, prompt_writer.SAMPLING])
def test_token_for_token_as_transformers(toy, sampling):
    ids = torch.tensor([[5, 17, 300, 42]])
    torch.manual_seed(9)
    theirs = toy.whole.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, pad_token_id=0, **sampling)
    state = torch.random.get_rng_state()
    mine = prompt_writer.generate(prompt_writer.language_model(toy.encoder), ids, 9, 40, None, 0, **sampling)
    assert torch.equal(mine, theirs) and len(set(mine[0].tolist())) > 5
    assert torch.equal(torch.random.get_rng_state(), state), "the draws of images are not disturbed"
    assert prompt_writer.language_model(toy.whole) is toy.whole


def test_streamed_seeded_and_cancelled(toy):
    def written(seed, stop):
        seen = []
        text = prompt_writer.write(
            toy.pipeline, "enhance", "a red house", seed, seen.append, lambda: stop is not None and len(seen) >= stop
        )
        return text, seen

    text, seen = written(3, 12)
    assert text == seen[-1].strip() and len(seen) in (12, 13) and len(seen[3]) < len(seen[-1])
    assert written(3, 12)[0] == text != written(4, 12)[0]


def test_instructions_follow_the_language():
    enhance, translate = (
        prompt_writer.messages_for(task, "一座红色的房子")[0]["content"] for task in ("enhance", "translate")
    )
    assert "使用中文" in enhance and "into English" in translate
    assert "译成中文" in prompt_writer.messages_for("translate", "a red house")[0]["content"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architectures": ["Qwen3Model"], "hidden_size": 2560, "tie_word_embeddings": True}, None),
        ({"architectures": ["Qwen3ForCausalLM"], "hidden_size": 2560, "tie_word_embeddings": False}, None),
        ({"architectures": ["Qwen3Model"], "hidden_size": 2560, "tie_word_embeddings": False}, "no output layer"),
        ({"architectures": ["Qwen3Model"], "hidden_size": 128, "tie_word_embeddings": True}, "too small"),
        ({"architectures": ["CLIPTextModel"], "hidden_size": 768}, "no language model"),
        ({}, "no language model"),
    ],
)
def test_who_can(tmp_path, config, words):
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "config.json").write_text(json.dumps(config))
    info = replace(Catalog(load_settings().configs).find("demo"), path=str(tmp_path))
    reason = encoder_problem(info)
    assert reason is None if words is None else words in reason["en"] and reason["zh"] != reason["en"]


def test_embedded_model_can_not():
    assert "width 128" in encoder_problem(Catalog(load_settings().configs).find("demo"))["en"]


def test_images_are_the_same_after_a_prompt_was_written(generator, request_of):
    request = request_of(width=64, height=64, num_inference_steps=1)
    before = generator.generate(request).images[0].image.tobytes()
    seen = []
    text = generator.write_prompt(
        "demo",
        request.options,
        "translate",
        "a red house",
        1,
        lambda progress: None,
        seen.append,
        lambda: len(seen) > 4,
    )
    assert text == seen[-1].strip() and generator.generate(request).images[0].image.tobytes() == before


def test_commands_come_to_the_worker_once_and_answers_back(tmp_path):
    pages, worker = PromptCommands(tmp_path), PromptCommands(tmp_path)
    first = pages.ask("demo", {"a": 1}, "enhance", "一座房子", 7)
    assert not pages.read(first).done
    second = pages.ask("demo", {}, "translate", "a house", 8)
    assert pages.read(first).done and not pages.read(second).done, "the first was replaced"
    taken = worker.take()
    assert (taken.id, taken.text, taken.seed) == (second, "a house", 8) and worker.take() is None
    worker.answer(second, PromptAnswer("房", False))
    assert pages.read(second) == PromptAnswer("房") and not worker.is_cancelled(second)
    pages.cancel(second)
    assert worker.is_cancelled(second)
    worker.answer(second, PromptAnswer("", True, UnavailableError(key="a", value="b", reason="c")))
    assert pages.read(second).done and isinstance(pages.read(second).error, UnavailableError)
