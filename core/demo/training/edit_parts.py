"""Encode instructions as ZImageOmniPipeline does, with the edit model's tokenizer and text encoder."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Qwen2Tokenizer, Qwen3Model

from core.demo.training import edit_text
from core.demo.training.edit_transformer import Instruction, Prompt, prompt_of
from core.demo.training.fast_transformer import padded


class Parts:
    """Tokenizer and text encoder of the edit model, and the two pieces around every instruction."""

    def __init__(self, out: Path) -> None:
        self.tokenizer = Qwen2Tokenizer.from_pretrained(out / "tokenizer")
        self.encoder = Qwen3Model.from_pretrained(out / "text_encoder", dtype=torch.float32)
        self.encoder.eval().requires_grad_(False)
        self._around = [self.piece([text]) for text in (edit_text.FIRST, edit_text.LAST)]

    @torch.no_grad()
    def piece(self, texts: list[str]) -> Prompt:
        """Return texts as one piece of a prompt, as they are."""
        return prompt_of(*edit_text.encode(self.tokenizer, self.encoder, texts))

    def instruction(self, prompts: list[str], short: bool = False) -> Instruction:
        """Return the three pieces of edits of one source image."""
        return Instruction(self._around[0], self.piece(edit_text.template(prompts)), self._around[1], short)

    def length(self, prompt: str) -> int:
        """Return the padded length of an instruction's piece."""
        return padded(len(self.tokenizer(edit_text.template([prompt])[0]).input_ids))
