"""Choose number formats of the components: what to try when an image is corrupt, and decoding in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}  # from narrow to wide in range


def next_dtypes(dtypes: Mapping[str, str], has_bfloat16: bool) -> dict[str, str] | None:
    """Return the dtypes for the next try: the range grows, no component gets less. None when all is float32.

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
    """Compute with `module` in float32. Its weights are restored bit for bit: float32 holds each 16-bit value exactly."""
    before = next(module.parameters()).dtype
    nn.Module.to(module, torch.float32)  # not diffusers' own `to`, which writes a warning each time
    try:
        yield
    finally:
        nn.Module.to(module, before)
