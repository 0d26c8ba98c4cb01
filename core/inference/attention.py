"""Find the attention kernels of this machine, and set kernel, dropout and RoPE precision of the loaded transformer."""

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

from core.config.options.pipeline import ATTENTION_BACKENDS
from core.i18n import localize
from core.types import Capability, Decision

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
    "untried": localize("inference.attention.works.untried"),
    "masks": localize("inference.attention.works.masks"),
    "rows": localize("inference.attention.works.rows"),
}
_NEEDS = {
    "_native_efficient": localize("inference.attention.needs.native_efficient"),
    "_native_flash": localize("inference.attention.needs.native_flash"),
    "_native_cudnn": localize("inference.attention.needs.native_cudnn"),
    "flex": localize("inference.attention.needs.flex"),
    "flash": localize("inference.attention.needs.flash"),
    "_flash_3": localize("inference.attention.needs.flash_3"),
    "sage": localize("inference.attention.needs.sage"),
    "xformers": localize("inference.attention.needs.xformers"),
}


def _missing(backend: str, error: Exception) -> Mapping[str, str]:
    message = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    needs = _NEEDS.get(backend, localize("inference.attention.another_machine"))
    detail = {"en": f" ({message})", "zh": ""}  # libraries speak English only
    return localize("inference.attention.needs_text", needs=needs, detail=detail)


def _wrong(away: float) -> Mapping[str, str]:
    return localize("inference.attention.computes_something_else_here_off_by", away=away)


WITH_DROPOUT = (NATIVE, "_native_math")  # the others refuse it, drop it in silence, or have no seed of ours


@dataclass(frozen=True)
class AttentionPlan:
    """The attention of one image. `by_row`: the backend can't take a mask, so rows of different length run one by one."""

    backend: str = NATIVE
    by_row: bool = False
    dropout: float = 0.0
    real_rope: bool = False


# -- what is chosen ------------------------------------------------------------------------------------------------


def choose(backend: str, dropout: float, real_rope: bool, shape: Shape) -> tuple[AttentionPlan, tuple[Decision, ...]]:
    """Return the plan for the options, with the reason wherever it differs from the request."""
    if dropout and backend not in WITH_DROPOUT:
        return AttentionPlan(NATIVE, False, dropout, real_rope), (Decision(OPTION, backend, NATIVE, _NO_DROPOUT),)
    if backend == NATIVE:
        return AttentionPlan(NATIVE, False, dropout, real_rope), ()
    found = probe(backend, shape)
    if not found.usable:
        return AttentionPlan(NATIVE, False, dropout, real_rope), (Decision(OPTION, backend, NATIVE, found.reason),)
    return AttentionPlan(backend, not takes_masks(backend, shape), dropout, real_rope), ()


_NO_DROPOUT = localize("inference.attention.no_dropout")


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
    """Z-Image's attention as in diffusers (norm, RoPE, attention), with the plan's kernel, dropout and RoPE.

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
        """Return (batch, tokens, width) -> the same; `attention_mask` (batch, tokens) is True where a token is real."""
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
        """Return each row over its real tokens, which come first. What stands at the padding is never looked at: zeros."""
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
    """Apply RoPE as diffusers does. x (batch, tokens, heads, d), factors (batch, tokens, d / 2) complex."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * factors.unsqueeze(2)).flatten(3).type_as(x)


def rotate_real(x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Apply RoPE without complex numbers: (a + ib)(c + is) = (ac - bs) + i(as + bc)."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = torch.view_as_real(factors).unsqueeze(2).unbind(-1)
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(3).type_as(x)


@contextmanager
def seeded(plan: AttentionPlan, seed: int, device: str) -> Iterator[None]:
    """Seed dropout: random numbers inside depend on `seed` alone; the process's random state is restored."""
    if not plan.dropout:
        yield
        return
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(seed)
        yield
