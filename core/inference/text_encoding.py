"""Encode prompts so that it can be cancelled between layers, and skip work that the same image does not need.

What is saved can be switched off and gives the same bits.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.hooks.group_offloading import _is_group_offload_enabled
from torch import nn

from core.config.schema import AUTO
from core.errors import Cancelled
from core.i18n import localize
from core.inference.residency import repeated_blocks
from core.types import Decision

CACHED_TEXTS = 32  # at most about 84 MB: 512 tokens of 2560 numbers of 16 bits each
LOOK_SECONDS = 0.5
TRIM_MULTIPLE = 64  # tokens; shorter ends fall to other kernels on the CPU, whose sums round differently (2e-6 of 13)


class TextCache:
    """Prompt embeds of the latest prompts by (prompt, max tokens, whether padded). One per loaded model."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, bool], torch.Tensor] = OrderedDict()

    def get(self, key: tuple[str, int, bool]) -> torch.Tensor | None:
        """Return the embeds (tokens, width), or None, and mark them as most recently used."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: tuple[str, int, bool], embedding: torch.Tensor) -> None:
        """Keep one; the one that was not asked for the longest goes."""
        self._kept[key] = embedding
        if len(self._kept) > CACHED_TEXTS:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()


def trims(wanted: str, device: str) -> tuple[bool, Decision | None]:
    """Return whether prompts are encoded without padding, with the reason of an automatic choice."""
    if wanted != AUTO:
        return wanted == "always", None
    selected = "always" if device == "cpu" else "never"
    return device == "cpu", Decision("performance.trim_text", AUTO, selected, _TRIM_REASONS[selected])


def real_rope(wanted: str, compiled: bool) -> tuple[bool, Decision | None]:
    """Return whether RoPE is computed in real numbers, with the reason of an automatic choice."""
    if wanted != AUTO:
        return wanted == "always", None
    selected = "always" if compiled else "never"
    return compiled, Decision("performance.real_rope", AUTO, selected, _ROPE_REASONS[selected])


_TRIM_REASONS = {
    "always": localize("inference.text_encoding.trim_reasons.always"),
    "never": localize("inference.text_encoding.trim_reasons.never"),
}
_ROPE_REASONS = {
    "always": localize("inference.text_encoding.rope_reasons.always"),
    "never": localize("inference.text_encoding.rope_reasons.never"),
}


@contextmanager
def watched(
    encoders: Iterable[nn.Module], on_layer: Callable[[int, int], None], is_cancelled: Callable[[], bool]
) -> Iterator[None]:
    """Look in before each layer of these text encoders, at most every LOOK_SECONDS: an encoder takes minutes on a CPU.

    Calls `on_layer(layer, layers)`, the layer counted from 1. Raises Cancelled. An encoder that is offloaded block by block is
    looked at only when it begins: its blocks are on their way to the GPU, and it takes seconds.
    """
    next_look = 0.0

    def look(layer: int, layers: int) -> None:
        nonlocal next_look
        now = time.monotonic()
        if now < next_look:
            return
        next_look = now + LOOK_SECONDS
        if is_cancelled():
            raise Cancelled
        on_layer(layer, layers)

    handles = []
    for encoder in encoders:
        blocks = [encoder] if _is_group_offload_enabled(encoder) else _text_blocks(encoder)
        for number, block in enumerate(blocks, start=1):

            def before(_block: nn.Module, _args: Any, number: int = number, layers: int = len(blocks)) -> None:
                look(number, layers)

            handles.append(block.register_forward_pre_hook(before, prepend=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _text_blocks(encoder: nn.Module) -> list[nn.Module]:
    """Return the layers that text goes through, without those of a vision model beside them."""
    visual = getattr(getattr(encoder, "model", encoder), "visual", None)
    of_images = set(visual.modules()) if visual is not None else set()
    return [block for block in repeated_blocks(encoder) if block not in of_images]


def encode(pipeline: Any, prompt: str, limit: int, trimmed: bool) -> torch.Tensor:
    """Return the embeds (tokens, width) of one prompt, truncated to `limit` tokens; as the pipeline does unless `trimmed`."""
    device = pipeline._execution_device
    if not trimmed:
        whole: torch.Tensor = pipeline.encode_prompt(
            [prompt],  # a fresh list: the pipeline writes its chat template into the one it gets
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=limit,
        )[0][0]
        return whole
    text = templated(pipeline.tokenizer, prompt)
    ids = pipeline.tokenizer([text], max_length=limit, truncation=True).input_ids[0]
    padded = pipeline.tokenizer.pad(
        {"input_ids": [ids]}, max_length=min(limit, -(-len(ids) // TRIM_MULTIPLE) * TRIM_MULTIPLE),
        padding="max_length", return_tensors="pt",
    ).to(device)  # fmt: skip
    mask = padded.attention_mask.bool()
    states = pipeline.text_encoder(input_ids=padded.input_ids, attention_mask=mask, output_hidden_states=True)
    embedding: torch.Tensor = states.hidden_states[-2][0][mask[0]]
    return embedding


def templated(tokenizer: Any, prompt: str) -> str:
    """Return a prompt in the chat template that Z-Image's pipelines put around it."""
    message = [{"role": "user", "content": prompt}]
    text: str = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    return text


class RefinedOnce(nn.Module):
    """Replaces the transformer's context refiner, and runs it only when its input changed."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers
        self.runs = 0
        self._seen: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor] | None = None
        self._refined: torch.Tensor | None = None

    def __iter__(self) -> Iterator[nn.Module]:
        """Yield this alone: the transformer loops over its refiner's layers."""
        yield self

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor) -> torch.Tensor:
        """Run the refiner: (batch, tokens, width), (batch, tokens) or None, (batch, tokens, d / 2) to the shape of `features`."""
        given = (features, mask, positions)
        if self._refined is None or not _same(self._seen, given):
            refined = features
            for layer in self.layers:
                refined = layer(refined, mask, positions)
            self._seen, self._refined, self.runs = given, refined, self.runs + 1
        return self._refined


def _same(seen: Any, given: Any) -> bool:
    """Return all tensors equal in shape and value; a value that is NaN is never the same."""
    return seen is not None and all(
        (one is None and other is None) or (one is not None and other is not None and torch.equal(one, other))
        for one, other in zip(seen, given, strict=True)
    )


@contextmanager
def refined_once(transformer: Any, wanted: bool) -> Iterator[RefinedOnce | None]:
    """Cache the context refiner for one image. Not with group offloading, which expects every layer at every step."""
    if not wanted or _is_group_offload_enabled(transformer):
        yield None
        return
    layers = transformer.context_refiner
    once = RefinedOnce(layers)
    transformer.context_refiner = once
    try:
        yield once
    finally:
        transformer.context_refiner = layers
