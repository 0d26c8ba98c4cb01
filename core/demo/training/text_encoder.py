"""Make the tokenizer and train the text encoder to understand captions before any image is involved.

The encoder is causal, so only the tokens that close the chat template see the whole prompt. It is trained until
linear heads can read every attribute from those tokens, "not named" included, in both languages alike. The
transformer is then trained on its frozen features: it learns to draw and need not learn to read.
"""

from __future__ import annotations

import json
import random
import time
from itertools import chain
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

from core.demo import captions, scenes
from core.demo.training.optim import Optimizers, curve

WIDTH = 128
# The part of Qwen3's template that ZImagePipeline's one call needs.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
# "<|im_end|>", line break, "<|im_start|>", "assistant", line break.
CLOSING_TOKENS = 5
# Words of the captions' grammar, which no table holds.
LINKS = (
    "a an and the of picture illustration poster there is draw next to beside with user assistant "
    "背景是 位于 画面里有 一张图 请画 有 的 在 一座 和 与 跟 ， 、 。 ："
)


def words() -> list[str]:
    """Return every word of the captions' vocabulary, alone and after a space.

    The merges are learned from words, not from captions: a merge then never spans two words, and "red house" is
    the same two tokens wherever it stands.
    """
    tables: list[dict[str, tuple[str, ...]]] = [
        *captions.KINDS.values(),
        *captions.COLORS.values(),
        *captions.POSITIONS.values(),
    ]
    tables += [table for language in captions.SURROUNDINGS.values() for table in language.values()]
    tables += [*captions.ENGLISH_TAGS.values(), captions.FILLERS]
    phrases = list(chain.from_iterable(chain.from_iterable(table.values() for table in tables)))
    single = {word for phrase in phrases for word in phrase.replace("-", " ").split()}
    single |= set(LINKS.split())
    forms = {form for word in single for form in (word, word.capitalize(), word.upper())}
    forms |= {word.translate(captions.TRADITIONAL) for word in single}
    return sorted(forms | {" " + form for form in forms if form.isascii()})


def new_tokenizer() -> Qwen2Tokenizer:
    """Train a byte-level BPE tokenizer of 4,000 tokens on the words of the captions."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(words(), trainer)
    model = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(m) for m in model["merges"]],
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=1024,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def new_encoder(vocabulary: int) -> Qwen3Model:
    """Return four layers, of which the pipeline uses three: it takes `hidden_states[-2]`."""
    return Qwen3Model(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=32,
            max_position_embeddings=1024,
            rope_theta=10000.0,
            tie_word_embeddings=True,
        )
    )


def template(prompts: list[str]) -> list[str]:
    """Return what the pipeline's chat template makes of each prompt, without the cost of a template engine."""
    return [f"<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n" for p in prompts]


def encode(tokenizer: Qwen2Tokenizer, encoder: Qwen3Model, prompts: list[str]) -> tuple[Tensor, Tensor]:
    """Return features as the pipeline uses them (batch, longest, width), and the length of each prompt in tokens.

    The filling stands behind each prompt, where a causal model does not look: no mask is needed.
    """
    batch = tokenizer(template(prompts), padding=True, return_tensors="pt")
    hidden = encoder(input_ids=batch.input_ids.to(encoder.device), output_hidden_states=True).hidden_states[-2]
    return hidden, batch.attention_mask.sum(1)


class Heads(nn.Module):
    """One linear reader for each attribute, with a last class for "not named"."""

    def __init__(self) -> None:
        super().__init__()
        self.readers = nn.ModuleDict(
            {name: nn.Linear(WIDTH, len(values) + 1) for name, values in scenes.ATTRIBUTES.items()}
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the logits of each attribute, (..., values + 1), for features (..., WIDTH)."""
        features = F.rms_norm(features, (WIDTH,))
        return {name: reader(features) for name, reader in self.readers.items()}


def labels(batch: list[tuple[scenes.Scene, frozenset[str]]]) -> dict[str, Tensor]:
    """Return the class of each attribute, (batch,); the last class for one that the caption does not name."""
    return {
        name: torch.tensor([values.index(getattr(s, name)) if name in named else len(values) for s, named in batch])
        for name, values in scenes.ATTRIBUTES.items()
    }


def caption_batch(count: int, rng: random.Random, held_out: bool = False) -> tuple[list[str], dict[str, Tensor]]:
    """Return captions of random scenes, 3% of them empty, and their labels."""
    prompts, named_scenes = [], []
    for _ in range(count):
        scene = scenes.sample(rng, held_out)
        text, named = ("", frozenset()) if rng.random() < 0.03 else captions.caption(scene, rng)
        prompts.append(text)
        named_scenes.append((scene, named))
    return prompts, labels(named_scenes)


def train(out: Path, minutes: float, seed: int = 2) -> None:
    """Train for `minutes` and save tokenizer and encoder under `out`."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = new_tokenizer()
    model = nn.ModuleDict({"encoder": new_encoder(len(tokenizer)), "heads": Heads()})
    optimizers = Optimizers(model, muon_lr=4e-3, adamw_lr=3e-3, by_adamw=("embed_tokens", "heads"))
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / (minutes * 60)) < 1:
        prompts, wanted = caption_batch(96, rng)
        hidden, lengths = encode(tokenizer, model["encoder"], prompts)
        last = lengths[:, None] - torch.arange(1, CLOSING_TOKENS + 1)
        read = model["heads"](hidden[torch.arange(len(prompts))[:, None], last])
        loss = sum(
            F.cross_entropy(read[name].flatten(0, 1), wanted[name].repeat_interleave(CLOSING_TOKENS)) for name in read
        )
        loss.backward()
        optimizers.step(curve(progress))
        step += 1
        if step % 100 == 0:
            print(f"text step {step} loss {loss.item():.4f} at {progress:.2f}", flush=True)
    for language in captions.LANGUAGES:
        print(language, accuracy(tokenizer, model["encoder"], model["heads"], language), flush=True)
    tokenizer.save_pretrained(out / "tokenizer")
    model["encoder"].save_pretrained(out / "text_encoder")
    torch.save(model["heads"].state_dict(), out / "text_heads.pt")


@torch.no_grad()
def accuracy(tokenizer: Qwen2Tokenizer, encoder: Qwen3Model, heads: Heads, language: str) -> dict[str, float]:
    """Return the part of held-out captions whose attribute is read right, from the very last token."""
    rng = random.Random(99)
    rendered = [scenes.sample(rng, held_out=True) for _ in range(500)]
    captioned = [captions.caption(scene, rng, language) for scene in rendered]
    hidden, lengths = encode(tokenizer, encoder, [text for text, _ in captioned])
    read = heads(hidden[torch.arange(len(captioned)), lengths - 1])
    wanted = labels([(scene, named) for scene, (_, named) in zip(rendered, captioned, strict=True)])
    return {name: round((read[name].argmax(-1) == wanted[name]).float().mean().item(), 4) for name in read}
