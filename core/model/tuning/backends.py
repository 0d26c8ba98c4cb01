"""Which attention kernels there are on this machine: each is run on a few numbers and compared with the formula.

What this module does not know: which one is wanted, how one is put into a model.
"""

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

from core.config.options.transformer import ATTENTION_BACKENDS
from core.types import Capability

NATIVE = "native"
FLEX = "flex"
TOLERANCE = (
    0.1  # of the largest value: far above rounding and 8-bit kernels, far below a mask or a rotation that is missing
)

OPTION = "transformer.attention_backend"


@dataclass(frozen=True)
class Shape:
    """What the kernels have to take: heads, the size of one, the number format, the device."""

    heads: int
    head_dim: int
    dtype: torch.dtype
    device: str


def shape_of(transformer: Any, device: str) -> Shape:
    """The shape of a Z-Image transformer's attention."""
    heads = transformer.config.n_heads
    return Shape(heads, transformer.config.dim // heads, transformer.dtype, device)


@cache
def probe(backend: str, shape: Shape) -> Capability:
    """Whether the backend computes attention rightly here: it is run on a few numbers and compared with the plain one."""
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
    """Every backend that the option offers. flex would start the compiler, so it is only looked for, and probed when chosen."""
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
    """Whether a mask over the keys is obeyed; some backends raise, and some add it to the scores as if it were numbers."""
    try:
        return bool(_distance(AttentionBackendName(backend), shape, masked=True) <= TOLERANCE)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a backend that is refused raises its own kinds: any of them says no
        return False


def _distance(backend: AttentionBackendName, shape: Shape, masked: bool) -> float:
    """Largest difference from the formula in float64, as a share of the largest value. The second row ends early if masked."""
    length, end = 64, 32
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(2, length, shape.heads, shape.head_dim, generator=generator) for _ in range(3)]
    query, key, value = (draw.to(shape.device, shape.dtype) for draw in draws)
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
    "untried": {"en": "is installed; tried when it is chosen", "zh": "已安装；选用时再试"},
    "masks": {"en": "works here", "zh": "本机可用"},
    "rows": {
        "en": "works here; prompts of unlike length, as with guidance, are attended one by one, as it takes no mask",
        "zh": "本机可用；因不支持掩码，长度不同的提示词（如使用引导时）会逐个计算",
    },
}
_NEEDS = {
    "_native_efficient": {"en": "an NVIDIA card", "zh": "NVIDIA 显卡"},
    "_native_flash": {
        "en": "an NVIDIA card of 2020 or later and a 16-bit precision, or a CPU",
        "zh": "2020 年后的 NVIDIA 显卡及 16 位精度，或 CPU",
    },
    "_native_cudnn": {
        "en": "an NVIDIA card of 2020 or later and a 16-bit precision",
        "zh": "2020 年后的 NVIDIA 显卡及 16 位精度",
    },
    "flex": {"en": "a compiler that PyTorch can use", "zh": "PyTorch 可用的编译器"},
    "flash": {
        "en": "the package flash-attn, an NVIDIA card and a 16-bit precision",
        "zh": "flash-attn 软件包、NVIDIA 显卡及 16 位精度",
    },
    "_flash_3": {
        "en": "FlashAttention 3, built from source, and a Hopper card",
        "zh": "从源码构建的 FlashAttention 3 及 Hopper 显卡",
    },
    "sage": {
        "en": "the package sageattention, an NVIDIA card and a 16-bit precision",
        "zh": "sageattention 软件包、NVIDIA 显卡及 16 位精度",
    },
    "xformers": {"en": "the package xformers and an NVIDIA card", "zh": "xformers 软件包及 NVIDIA 显卡"},
}


def _missing(backend: str, error: Exception) -> Mapping[str, str]:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    needs = _NEEDS.get(backend, {"en": "another machine", "zh": "其他机器"})
    return {"en": f"needs {needs['en']} ({said})", "zh": f"需要{needs['zh']}（{said}）"}


def _wrong(away: float) -> Mapping[str, str]:
    return {
        "en": f"computes something else here: off by {away:.0%} of the largest value",
        "zh": f"在本机计算结果错误：偏差达最大值的 {away:.0%}",
    }
