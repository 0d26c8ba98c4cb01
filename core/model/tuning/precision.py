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


def clamp_overflow(transformer: nn.Module) -> None:
    """Keep a float16 transformer finite: what overflows in its attention and feed-forward becomes +-65504.

    Activations reach about 9e5 there, only on the way into an RMS norm, which looks at their direction and not at their length:
    the few that are cut change it little. A NaN (such as inf - inf) becomes 0.
    """
    for block in transformer.modules():
        if type(block).__name__ == "ZImageTransformerBlock":
            block.attention.register_forward_hook(_clamp_output)
            block.feed_forward.register_forward_hook(_clamp_output)
            block.feed_forward._forward_silu_gating = _gate_within_half  # an attribute of the instance hides the method


def _clamp_output(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return _within_half(output)


def _gate_within_half(x1: torch.Tensor, x3: torch.Tensor) -> torch.Tensor:
    """The feed-forward's gate: silu(x1) * x3, as the class has it, then clamped."""
    return _within_half(functional.silu(x1) * x3)


def _within_half(values: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(values, nan=0.0, posinf=LARGEST_HALF, neginf=-LARGEST_HALF)
