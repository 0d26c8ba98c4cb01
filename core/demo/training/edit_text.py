"""Teach a copy of the text encoder to read instructions, so that the transformer need only learn to edit.

The tokenizer gets the tokens that ZImageOmniPipeline writes around an image, and the words of instructions, which
the captions' tokens would spell. The encoder is trained until linear heads can read the kind of edit and what it
names from the tokens that close a prompt; on captions it is held to what it said before.
"""

from __future__ import annotations

import copy
import random
import re
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, Qwen3Model

from core.demo import captions, edit_captions, edits
from core.demo.training import text_encoder
from core.demo.training.optim import Optimizers, curve

SHIPPED = Path(__file__).parents[1] / "weights"
VISION = ("<|vision_start|>", "<|vision_end|>")
FIRST, LAST = "<|im_start|>user\n<|vision_start|>", "<|vision_end|><|im_end|>"  # the pieces around an instruction
CLOSING_TOKENS = 6
HEADS = {"edit": edits.EDITS, **{name: edit_captions.classes(name) for name in edit_captions.NAMED}}


def template(prompts: list[str]) -> list[str]:
    """Return the piece of ZImageOmniPipeline's prompt that holds the instruction, after the one source image."""
    return [f"<|vision_end|>{p}<|im_end|>\n<|im_start|>assistant\n<|vision_start|>" for p in prompts]


def new_tokenizer() -> Qwen2Tokenizer:
    """Return the shipped tokenizer with the tokens around images and the words of instructions."""
    tokenizer = Qwen2Tokenizer.from_pretrained(SHIPPED / "tokenizer")
    known = set("".join(text_encoder.words())), {word.strip().lower() for word in text_encoder.words()}
    texts: dict[str, str] = {}
    for language in captions.LANGUAGES:
        wordings = [text for texts in edit_captions.WORDINGS[language].values() for text in texts]
        wordings += [*edit_captions.KEEP[language], *edit_captions.PLEASE[language]]
        texts[language] = re.sub(r"\{\w+\}", " ", " ".join(wordings))
    english = sorted(set(re.findall("[a-z]+", texts["en"])) - known[1])
    chinese = sorted(set(re.findall("[\u4e00-\u9fff]", texts["zh"])) - known[0])
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in VISION], special_tokens=True)
    forms = [form for word in english for form in (word, word.capitalize())]
    tokenizer.add_tokens([AddedToken(word, single_word=True, lstrip=True, normalized=False) for word in forms])
    tokenizer.add_tokens([AddedToken(sign, normalized=False) for sign in chinese])
    return tokenizer


def encode(tokenizer: Qwen2Tokenizer, encoder: Qwen3Model, pieces: list[str]) -> tuple[Tensor, Tensor]:
    """Return features as the pipeline uses them (batch, longest, width), and the length of each piece in tokens."""
    batch = tokenizer(pieces, padding=True, padding_side="right", return_tensors="pt")
    hidden = encoder(input_ids=batch.input_ids, output_hidden_states=True).hidden_states[-2]
    return hidden, batch.attention_mask.sum(1)


def instructions(count: int, rng: random.Random, held_out: bool = False) -> tuple[list[str], dict[str, Tensor]]:
    """Return instructions of random edits, and the class of each of HEADS; the last class where nothing is said."""
    texts, read = [], []
    for _ in range(count):
        made = edits.sample_edit(rng, rng.choice(edits.EDITS), held_out)
        text, named = edit_captions.instruction(made, rng)
        texts.append(text)
        read.append({"edit": made.kind, **named})
    labels = {
        name: torch.tensor([values.index(one[name]) if name in one else len(values) for one in read])
        for name, values in HEADS.items()
    }
    return texts, labels


class Heads(nn.ModuleDict):
    """One linear reader for each of HEADS, with a last class for "not named"."""

    def __init__(self) -> None:
        super().__init__({name: nn.Linear(text_encoder.WIDTH, len(values) + 1) for name, values in HEADS.items()})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the logits of each, (..., values + 1), for features (..., WIDTH)."""
        features = F.rms_norm(features, (text_encoder.WIDTH,))
        return {name: reader(features) for name, reader in self.items()}


def train(out: Path, minutes: float, seed: int = 12) -> None:
    """Train for `minutes` and save tokenizer and encoder under `out`."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = new_tokenizer()
    encoder = Qwen3Model.from_pretrained(SHIPPED / "text_encoder", dtype=torch.float32)
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    before = copy.deepcopy(encoder).eval().requires_grad_(False)
    model = nn.ModuleDict({"encoder": encoder, "heads": Heads()})
    optimizers = Optimizers(model, muon_lr=2e-3, adamw_lr=2e-3, by_adamw=("embed_tokens", "heads"))
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / (minutes * 60)) < 1:
        texts, wanted = instructions(64, rng)
        hidden, lengths = encode(tokenizer, encoder, template(texts))
        last = lengths[:, None] - torch.arange(1, CLOSING_TOKENS + 1)
        read = model["heads"](hidden[torch.arange(len(texts))[:, None], last])
        loss = sum(
            F.cross_entropy(read[name].flatten(0, 1), wanted[name].repeat_interleave(CLOSING_TOKENS)) for name in read
        )
        captioned = text_encoder.template(text_encoder.caption_batch(16, rng)[0])
        now, lengths = encode(tokenizer, encoder, captioned)
        with torch.no_grad():
            was = encode(tokenizer, before, captioned)[0]
        inside = (torch.arange(now.shape[1]) < lengths[:, None])[..., None]
        apart = ((now - was).square() * inside).sum() / (was.square() * inside).sum()
        (loss + 10 * apart).backward()
        optimizers.step(curve(progress))
        step += 1
        if step % 50 == 0:
            print(f"text step {step} loss {loss.item():.4f} captions {apart.item():.4f} at {progress:.2f}", flush=True)
    print(accuracy(tokenizer, encoder, model["heads"]), flush=True)
    tokenizer.save_pretrained(out / "tokenizer")
    encoder.save_pretrained(out / "text_encoder")


@torch.no_grad()
def accuracy(tokenizer: Qwen2Tokenizer, encoder: Qwen3Model, heads: Heads) -> dict[str, float]:
    """Return the part of instructions for held-out scenes that is read right, from the very last token."""
    texts, wanted = instructions(500, random.Random(99), held_out=True)
    hidden, lengths = encode(tokenizer, encoder, template(texts))
    read = heads(hidden[torch.arange(len(texts)), lengths - 1])
    return {name: round((read[name].argmax(-1) == wanted[name]).float().mean().item(), 4) for name in read}
