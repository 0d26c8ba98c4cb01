"""Set the attention of the loaded transformer: its kernel, its dropout, and the precision of RoPE.

diffusers' own switch, `set_attention_backend`, also changes the default of the whole process; and its xformers switch of old
installs a processor without RoPE. So neither is called: this module gives each attention a processor that names its backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.attention_processor import Attention

from core.i18n import localize
from core.inference.attention_backends import NATIVE, OPTION, Shape, probe, takes_masks
from core.types import Decision

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
