"""The attention of the loaded transformer: which kernel, how much dropout, and in which numbers it is rotated.

diffusers' own switch, `set_attention_backend`, also changes the default of the whole process; and its xformers switch of old
installs a processor without RoPE. So neither is called: this module gives each attention a processor that names its backend.
What this module does not know: requests, how a backend is listed on a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    _check_attention_backend_requirements,
    dispatch_attention_fn,
)
from diffusers.models.attention_processor import Attention

from core.config.options.transformer import ATTENTION_BACKENDS
from core.types import Capability, Decision

NATIVE = "native"
FLEX = "flex"
WITH_DROPOUT = (NATIVE, "_native_math")  # the others refuse it, drop it in silence, or have no seed of ours
TOLERANCE = (
    0.1  # of the largest value: far above rounding and 8-bit kernels, far below a mask or a rotation that is missing
)

OPTION = "transformer.attention_backend"


@dataclass(frozen=True)
class AttentionPlan:
    """`by_row`: the backend can't take a mask, so rows of unlike length are attended one by one."""

    backend: str = NATIVE
    by_row: bool = False
    dropout: float = 0.0
    real_rope: bool = False


# -- what there is -------------------------------------------------------------------------------------------------


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


# -- what is chosen ------------------------------------------------------------------------------------------------


def choose(backend: str, dropout: float, real_rope: bool, shape: Shape) -> tuple[AttentionPlan, tuple[Decision, ...]]:
    """The plan for what the options ask, with the reason wherever it isn't what was asked."""
    if dropout and backend not in WITH_DROPOUT:
        return AttentionPlan(NATIVE, False, dropout, real_rope), (Decision(OPTION, backend, NATIVE, _NO_DROPOUT),)
    if backend == NATIVE:
        return AttentionPlan(NATIVE, False, dropout, real_rope), ()
    found = probe(backend, shape)
    if not found.usable:
        return AttentionPlan(NATIVE, False, dropout, real_rope), (Decision(OPTION, backend, NATIVE, found.reason),)
    return AttentionPlan(backend, not takes_masks(backend, shape), dropout, real_rope), ()


_NO_DROPOUT = {
    "en": "attention dropout is on, and only PyTorch's own attention can repeat it from the seed",
    "zh": "已启用注意力丢弃，只有 PyTorch 自带的注意力可按种子重现",
}


# -- what acts -----------------------------------------------------------------------------------------------------


def apply(transformer: Any, plan: AttentionPlan) -> None:
    """Bring every attention of the transformer to the plan. A plan with nothing special gives diffusers' processors back."""
    layers = [module for module in transformer.modules() if isinstance(module, Attention)]
    present = layers[0].processor
    if isinstance(present, StudioProcessor) and present.plan == plan:
        return
    special = plan != AttentionPlan()
    ours = StudioProcessor(plan, [_original(layer, k) for k, layer in enumerate(layers)]) if special else None
    for k, layer in enumerate(layers):
        layer.processor = ours or _original(layer, k)
        layer.processor._attention_backend = AttentionBackendName(
            plan.backend
        )  # named, so no process-wide default acts


def _original(layer: Attention, k: int) -> Any:
    return layer.processor.originals[k] if isinstance(layer.processor, StudioProcessor) else layer.processor


class StudioProcessor:
    """Z-Image's attention as diffusers has it (normalised, rotated, attended), with the plan's kernel, dropout and rotation.

    One instance serves all layers. `originals` are diffusers' own, in the order of the layers.
    """

    _attention_backend: AttentionBackendName | None = None
    _parallel_config = None

    def __init__(self, plan: AttentionPlan, originals: Sequence[Any]) -> None:
        self.plan = plan
        self.originals = originals
        self._rotate = rotate_real if plan.real_rope else rotate_complex

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        freqs_cis: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(batch, tokens, width) -> the same; `attention_mask` (batch, tokens) is True where a token is real."""
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        if freqs_cis is not None:
            query, key = self._rotate(query, freqs_cis), self._rotate(key, freqs_cis)
        attended = self._attend(query, key, value, attention_mask)
        output: torch.Tensor = attn.to_out[0](attended.flatten(2, 3).to(query.dtype))
        return attn.to_out[1](output) if len(attn.to_out) > 1 else output

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        if mask is None:
            return self._kernel(query, key, value, None)
        if not self.plan.by_row:
            return self._kernel(query, key, value, mask[:, None, None, :])
        if torch.compiler.is_compiling():  # lengths are numbers only at run time; native takes the mask into the graph
            return self._kernel(query, key, value, mask[:, None, None, :], AttentionBackendName.NATIVE)
        return self._row_by_row(query, key, value, mask)

    def _row_by_row(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Each row over its real tokens, which come first. What stands at the padding is never looked at: zeros."""
        attended = torch.zeros_like(query)
        for row, length in enumerate(mask.sum(dim=1).tolist()):
            real = slice(row, row + 1), slice(0, length)
            attended[real] = self._kernel(query[real], key[real], value[real], None)
        return attended

    def _kernel(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        backend: AttentionBackendName | None = None,
    ) -> torch.Tensor:
        attended: torch.Tensor = dispatch_attention_fn(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.plan.dropout,
            backend=backend or self._attention_backend,
        )
        return attended


def rotate_complex(x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Rotary positions as diffusers computes them. x (batch, tokens, heads, d), factors (batch, tokens, d / 2) complex."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * factors.unsqueeze(2)).flatten(3).type_as(x)


def rotate_real(x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """The same without complex numbers: (a + ib)(c + is) = (ac - bs) + i(as + bc)."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = torch.view_as_real(factors).unsqueeze(2).unbind(-1)
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(3).type_as(x)


@contextmanager
def seeded(plan: AttentionPlan, seed: int, device: str) -> Iterator[None]:
    """With dropout: what is drawn meanwhile follows from `seed` alone, and the process's own random state comes back."""
    if not plan.dropout:
        yield
        return
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(seed)
        yield
