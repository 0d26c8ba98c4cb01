"""Write prompts with the text encoder that is loaded: Z-Image's is a Qwen3 language model whose output layer is its embeddings.

The words come from transformers' own `generate`, so they are those of the same Qwen3ForCausalLM.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen3ForCausalLM
from transformers.generation import StoppingCriteria, StoppingCriteriaList

from core.inference import residency

ENHANCE, TRANSLATE = "enhance", "translate"
MOST_TOKENS = 400
SAMPLING = {
    "do_sample": True,
    "temperature": 0.7,
    "top_p": 0.8,
    "top_k": 20,
}  # as Qwen3's card has them without thinking
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_ENHANCE = {
    "en": "You write prompts for an image generator. Expand the prompt of the user into one paragraph of at most 120 words: "
    "subject, setting, light, colors, composition and style. Keep everything that the user said, and text in quotation "
    "marks exactly as it is. Answer with the new prompt alone, in English.",
    "zh": "你为图像生成模型撰写提示词。把用户的提示词扩写为一段不超过 150 字的描述：主体、环境、光线、色彩、构图与风格。"
    "保留用户说过的全部内容，引号中的文字原样保留。只回答新的提示词，使用中文。",
}
_TRANSLATE = {  # by the language of the prompt
    "en": "把用户的图像生成提示词译成中文。不增减内容，引号中的文字和专有名词原样保留。只回答译文。",
    "zh": "Translate the user's prompt for an image generator into English. Add and drop nothing, keep text in quotation marks "
    "as it is. Answer with the translation alone.",
}


def messages_for(task: str, text: str) -> list[dict[str, str]]:
    """Return the chat for a task: `enhance` stays in the prompt's language, `translate` goes to the other one."""
    language = "zh" if _CHINESE.search(text) else "en"
    instruction = (_TRANSLATE if task == TRANSLATE else _ENHANCE)[language]
    return [{"role": "system", "content": instruction}, {"role": "user", "content": text}]


def write(
    pipeline: Any,
    task: str,
    text: str,
    seed: int,
    on_text: Callable[[str], None],
    is_cancelled: Callable[[], bool],
) -> str:
    """Return the new prompt; `on_text` gets what there is of it after each token. Cancelling ends it early."""
    tokenizer, device = pipeline.tokenizer, pipeline._execution_device
    chat = tokenizer.apply_chat_template(
        messages_for(task, text), tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    ids = tokenizer(chat, return_tensors="pt").input_ids.to(device)
    shown, parts = _Shown(tokenizer, on_text), residency.of(pipeline)
    with nullcontext() if parts is None else parts.whole(pipeline.text_encoder):
        generate(
            language_model(pipeline.text_encoder), ids, seed, MOST_TOKENS, tokenizer.eos_token_id, tokenizer.pad_token_id,
            streamer=shown, stopping_criteria=StoppingCriteriaList([_Cancelled(is_cancelled)]), **SAMPLING,
        )  # fmt: skip
    return shown.text.strip()


def language_model(encoder: Any) -> Qwen3ForCausalLM:
    """Return the encoder as a language model that shares its weights; one that has its own output layer as it is."""
    if isinstance(encoder, Qwen3ForCausalLM):
        return encoder
    small = copy.deepcopy(encoder.config)
    small.num_hidden_layers, small.layer_types = 1, small.layer_types[:1]
    with torch.device("meta"):  # a frame: its parts are replaced
        made = Qwen3ForCausalLM(small)
    made.config, made.model, made.lm_head = encoder.config, encoder, _TiedHead(encoder.get_input_embeddings())
    return made.eval()


def generate(
    model: Qwen3ForCausalLM, ids: torch.Tensor, seed: int, most: int, end: int | None, pad: int | None, **named: Any
) -> torch.Tensor:
    """Return the ids (1, length) with at most `most` new ones, by transformers' `generate` and this seed alone."""
    devices = [ids.device] if ids.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(seed)
        made: torch.Tensor = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, eos_token_id=end, pad_token_id=pad, **named
        )
    return made


class _TiedHead(nn.Module):
    """The embeddings as output layer: (..., width) -> (..., vocabulary)."""

    def __init__(self, embeddings: nn.Embedding) -> None:
        super().__init__()
        self._embeddings = embeddings
        self._there: torch.Tensor | None = None  # a copy where the embeddings are offloaded

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        weight = self._embeddings.weight
        if weight.device != hidden.device or weight.dtype != hidden.dtype:
            if self._there is None:
                self._there = weight.detach().to(hidden.device, hidden.dtype)
            weight = self._there
        return functional.linear(hidden, weight)


class _Shown:
    """A streamer of transformers: it gets the ids of the chat first, then each new one."""

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:
        self._tokenizer, self._on_text = tokenizer, on_text
        self._ids: list[int] | None = None
        self.text = ""

    def put(self, ids: torch.Tensor) -> None:
        if self._ids is None:
            self._ids = []
            return
        self._ids += ids.flatten().tolist()
        self.text = self._tokenizer.decode(self._ids, skip_special_tokens=True).rstrip("\ufffd")
        self._on_text(self.text)

    def end(self) -> None:
        return


class _Cancelled(StoppingCriteria):
    def __init__(self, is_cancelled: Callable[[], bool]) -> None:
        self._is_cancelled = is_cancelled

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._is_cancelled(), dtype=torch.bool, device=input_ids.device)
