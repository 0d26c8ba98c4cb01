"""Keep Z-Image's transformer finite in float16, whose largest value its activations exceed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

LARGEST_HALF = 65504.0  # of float16
SHRINK = 2.0**-6  # a power of two, which rounds nothing
_BLOCKS = ("ZImageTransformerBlock", "ZImageControlTransformerBlock")


def fit(layers: nn.Module) -> None:
    """Keep a transformer, or a ControlNet's own layers, finite in float16: attention and feed-forward compute 64 times smaller,
    then are clamped.

    What they give goes into an RMS norm, which takes any factor out again: with y = 2^-6 x and eps' = 2^-12 eps,
    y / sqrt(mean(y^2) + eps') = x / sqrt(mean(x^2) + eps) exactly. So values up to 4e6 keep their direction; what is larger
    still becomes the largest float16 and a NaN (such as inf - inf) becomes 0.
    """
    for block in layers.modules():
        if type(block).__name__ in _BLOCKS:
            block.attention.to_out[0].register_forward_pre_hook(_shrink_input)
            block.attention.register_forward_hook(_clamp_output)
            block.attention_norm2.eps *= SHRINK**2
            block.feed_forward._forward_silu_gating = _shrunken_gate  # an attribute of the instance hides the method
            block.feed_forward.register_forward_hook(_clamp_output)
            block.ffn_norm2.eps *= SHRINK**2


def fit_adapters(pipeline: Any) -> None:
    """Give the adapters beside a layer whose input `fit` shrinks the same input; of other layers nothing changes."""
    for module in getattr(pipeline, "transformer", nn.Module()).modules():
        downs, base = getattr(module, "lora_A", None), getattr(module, "base_layer", None)
        if downs is None or base is None or _shrink_input not in base._forward_pre_hooks.values():
            continue
        for down in downs.values():
            if _shrink_input not in down._forward_pre_hooks.values():
                down.register_forward_pre_hook(_shrink_input)


def _shrink_input(_module: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (given[0] * SHRINK, *given[1:])


def _clamp_output(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return _clamp(output)


def _shrunken_gate(x1: torch.Tensor, x3: torch.Tensor) -> torch.Tensor:
    """Return the feed-forward's gate, silu(x1) * x3, as the class has it, but shrunk before it is rounded to float16."""
    return _clamp(functional.silu(x1.float()) * x3.float() * SHRINK).to(x1.dtype)


def _clamp(values: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(values, nan=0.0).clamp(-LARGEST_HALF, LARGEST_HALF)
