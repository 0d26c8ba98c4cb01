"""Rotary positions, switched on the loaded transformer.

`transformer.rope_embedder` is a plain callable from integer position ids (n, 3) to complex64 factors (n, head_dim / 2); replacing
it changes the positions without touching a weight.
"""

from __future__ import annotations

from typing import Any

import torch


class NoRotation:
    """The embedder that rotates by nothing: every factor is 1. Keeps the true one, to give it back."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, 3) integer ids -> (n, head_dim / 2) complex64, all 1 + 0i."""
        return torch.ones_like(self.original(ids))


def apply(transformer: Any, use_rope: bool) -> None:
    """Rotation on or off, from whichever state the transformer is in."""
    embedder = transformer.rope_embedder
    original = embedder.original if isinstance(embedder, NoRotation) else embedder
    transformer.rope_embedder = original if use_rope else NoRotation(original)
