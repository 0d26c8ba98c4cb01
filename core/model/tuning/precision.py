"""Number formats: which component computes in which, what float16 needs, and what to try when a picture breaks.

What this module does not know: files, requests, pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from core.config.schema import AUTO

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}  # from narrow to wide in range
COMPONENTS = ("text_encoder", "transformer", "vae")
LARGEST_HALF = 65504.0  # of float16
SHRINK = 2.0**-6  # a power of two, which rounds nothing


def wanted_dtypes(options: Mapping[str, Any], whole: str) -> dict[str, str]:
    """Each component's format by name: its own option, or `whole` where that is auto.

    With float16 as the whole model's, the VAE takes float32: it is small, and has no clamping.
    """
    default = {"vae": "float32"} if whole == "float16" else {}
    return {
        component: default.get(component, whole)
        if options[f"{component}.dtype"] == AUTO
        else options[f"{component}.dtype"]
        for component in COMPONENTS
    }


def next_dtypes(dtypes: Mapping[str, str], has_bfloat16: bool) -> dict[str, str] | None:
    """The formats for the next try of a whole job: the range grows, and no component gets less. None when all is float32.

    float16 -> bfloat16 where the device computes in it, else float32; bfloat16 -> float32.
    """
    order = list(DTYPES)
    if has_bfloat16 and "float16" in dtypes.values():
        target = "bfloat16"
    elif set(dtypes.values()) != {"float32"}:
        target = "float32"
    else:
        return None
    return {name: max(dtype, target, key=order.index) for name, dtype in dtypes.items()}


@contextmanager
def in_float32(module: nn.Module) -> Iterator[None]:
    """`module` computes in float32 meanwhile. Its weights come back bit for bit: float32 holds each 16-bit value exactly."""
    before = next(module.parameters()).dtype
    nn.Module.to(module, torch.float32)  # not diffusers' own `to`, which writes a warning each time
    try:
        yield
    finally:
        nn.Module.to(module, before)


_BLOCKS = ("ZImageTransformerBlock", "ZImageControlTransformerBlock")


def fit_half(layers: nn.Module) -> None:
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


def fit_half_adapters(pipeline: Any) -> None:
    """Give the adapters beside a layer whose input `fit_half` shrinks the same input; of other layers nothing changes."""
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
    """The feed-forward's gate, silu(x1) * x3, as the class has it, but shrunk before it is rounded to float16."""
    return _clamp(functional.silu(x1.float()) * x3.float() * SHRINK).to(x1.dtype)


def _clamp(values: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(values, nan=0.0).clamp(-LARGEST_HALF, LARGEST_HALF)
