"""Find the attention kernels of this machine: each is run on a few numbers and compared with the formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _check_attention_backend_requirements,
    dispatch_attention_fn,
)

from core.config.options.pipeline import ATTENTION_BACKENDS
from core.i18n import localize
from core.types import Capability

NATIVE = "native"
FLEX = "flex"
TOLERANCE = (
    0.1  # of the largest value: far above rounding and 8-bit kernels, far below a mask or a rotation that is missing
)

OPTION = "transformer.attention_backend"


@dataclass(frozen=True)
class Shape:
    """What the kernels have to support: number of heads, head size, dtype, device."""

    heads: int
    head_dim: int
    dtype: torch.dtype
    device: str


def shape_of(transformer: Any, device: str) -> Shape:
    """Return the attention shape of a Z-Image transformer."""
    heads = transformer.config.n_heads
    return Shape(heads, transformer.config.dim // heads, transformer.dtype, device)


@cache
def probe(backend: str, shape: Shape) -> Capability:
    """Return whether the backend computes attention correctly here, by comparison with the plain one on a few numbers."""
    try:
        name = AttentionBackendName(backend)
        _check_attention_backend_requirements(name)
        away = _distance(name, shape, masked=False)
    except torch.OutOfMemoryError:
        raise  # says nothing about the backend
    except Exception as error:  # whatever a kernel raises, of whichever package
        return Capability(OPTION, backend, False, _missing(backend, error))
    if not away <= TOLERANCE:
        return Capability(OPTION, backend, False, _wrong(away))
    return Capability(OPTION, backend, True, _WORKS["masks" if takes_masks(backend, shape) else "rows"])


def survey(transformer: Any, device: str) -> tuple[Capability, ...]:
    """Return every backend of the option. flex starts the compiler, so it is only looked for, and probed when selected."""
    shape = shape_of(transformer, device)
    return tuple(_unprobed(name) if name == FLEX else probe(name, shape) for name in ATTENTION_BACKENDS)


def _unprobed(backend: str) -> Capability:
    try:
        _check_attention_backend_requirements(AttentionBackendName(backend))
    except RuntimeError as error:
        return Capability(OPTION, backend, False, _missing(backend, error))
    return Capability(OPTION, backend, True, _WORKS["untried"])


@cache
def takes_masks(backend: str, shape: Shape) -> bool:
    """Return True if the backend applies a mask over the keys; some raise, some add it to the scores."""
    try:
        return bool(_distance(AttentionBackendName(backend), shape, masked=True) <= TOLERANCE)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a backend that is refused raises its own kinds: any of them says no
        return False


def _distance(backend: AttentionBackendName, shape: Shape, masked: bool) -> float:
    """Return the largest difference from the formula in float64, relative to the largest value.

    The second row ends early if masked.
    """
    length, end = 64, 32
    generator = torch.Generator().manual_seed(0)
    samples = [torch.randn(2, length, shape.heads, shape.head_dim, generator=generator) for _ in range(3)]
    query, key, value = (sample.to(shape.device, shape.dtype) for sample in samples)
    mask = torch.ones(2, length, dtype=torch.bool, device=shape.device)
    mask[1, end:] = not masked
    got = dispatch_attention_fn(
        query, key, value, attn_mask=mask[:, None, None, :] if masked else None, backend=backend
    )  # fmt: skip
    scores = torch.einsum("bqhd,bkhd->bhqk", query.cpu().double(), key.cpu().double()) / shape.head_dim**0.5
    shares = scores.masked_fill(~mask.cpu()[:, None, None, :], float("-inf")).softmax(dim=-1)
    right = torch.einsum("bhqk,bkhd->bqhd", shares, value.cpu().double())
    return float((got.cpu().double() - right).abs().max() / right.abs().max())


_WORKS = {
    "untried": localize("inference.attention_backends.works.untried"),
    "masks": localize("inference.attention_backends.works.masks"),
    "rows": localize("inference.attention_backends.works.rows"),
}
_NEEDS = {
    "_native_efficient": localize("inference.attention_backends.needs.native_efficient"),
    "_native_flash": localize("inference.attention_backends.needs.native_flash"),
    "_native_cudnn": localize("inference.attention_backends.needs.native_cudnn"),
    "flex": localize("inference.attention_backends.needs.flex"),
    "flash": localize("inference.attention_backends.needs.flash"),
    "_flash_3": localize("inference.attention_backends.needs.flash_3"),
    "sage": localize("inference.attention_backends.needs.sage"),
    "xformers": localize("inference.attention_backends.needs.xformers"),
}


def _missing(backend: str, error: Exception) -> Mapping[str, str]:
    message = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    needs = _NEEDS.get(backend, localize("inference.attention_backends.another_machine"))
    detail = {"en": f" ({message})", "zh": ""}  # libraries speak English only
    return localize("inference.attention_backends.needs_text", needs=needs, detail=detail)


def _wrong(away: float) -> Mapping[str, str]:
    return localize("inference.attention_backends.computes_something_else_here_off_by", away=away)
