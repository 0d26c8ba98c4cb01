"""Set RoPE of the loaded transformer: as trained, switched off, or scaled for images larger than the trained ones.

`transformer.rope_embedder` is a plain callable from integer position ids (n, 3) to complex64 factors (n, head_dim / 2); replacing
it changes the positions without touching a weight. Axis 0 counts the words, axes 1 and 2 are rows and columns of tokens; only
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from core.config.schema import AUTO
from core.config.typed_settings import Options
from core.i18n import localize
from core.types import Decision

ABOVE_BASE = "linear"  # what rope_scaling auto means above the base resolution: the best of `start.py bench rope`

SLOW, FAST = (
    1.0,
    32.0,
)  # YaRN's alpha and beta: turns over the trained length; slower is stretched, faster is left alone


@dataclass(frozen=True)
class RopePlan:
    """The RoPE scaling of one image. `factors`: sides relative to the trained ones, at least 1."""

    rotate: bool
    method: str  # none, linear, ntk, yarn or dype
    base: int  # px
    factors: tuple[float, float]
    dype_scale: float
    dype_exponent: float
    patch: int = 16  # px of a token's side

    @property
    def record(self) -> dict[str, Any] | None:
        """Return the plan for the image's record; None for unscaled positions."""
        if not self.rotate or self.method == "none":
            return None
        return {"method": self.method, "base": self.base, "factors": [round(factor, 4) for factor in self.factors]}


def plan_positions(options: Mapping[str, Any], trained_side: int, size: tuple[int, int]) -> RopePlan:
    """Return the plan of the options for an image of `size` (width, height) px and a model trained to `trained_side` px."""
    option = Options(options)
    asked, given = option.transformer.rope_base_resolution, option.transformer.rope_factor
    base = trained_side if asked == AUTO else asked
    width, height = size
    factors = tuple(max(1.0, side / base) if given == AUTO else float(given) for side in (height, width))
    method: str = option.transformer.rope_scaling
    if method == AUTO:
        method = ABOVE_BASE if max(size) > base else "none"
    return RopePlan(
        rotate=option.transformer.use_rope,
        method=method if max(factors) > 1 else "none",
        base=base,
        factors=(factors[0], factors[1]),
        dype_scale=option.transformer.dype_scale,
        dype_exponent=option.transformer.dype_exponent,
    )


def automatic_choice(options: Mapping[str, Any], plan: RopePlan, size: tuple[int, int]) -> tuple[Decision, ...]:
    """Return the reason of an automatic scaling; nothing up to the base resolution."""
    if Options(options).transformer.rope_scaling != AUTO or max(size) <= plan.base:
        return ()
    side = max(size)
    reason = localize("inference.rope.a_side_of_px_is_longer", side=side, base=plan.base)
    return (Decision("transformer.rope_scaling", AUTO, plan.method, reason),)


def frequencies(dim: int, theta: float) -> torch.Tensor:
    """Return the trained angles per token, (dim / 2,) float64: theta^(-2 i / dim)."""
    return theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def linear(dim: int, theta: float, factor: float) -> torch.Tensor:
    """Return Position Interpolation (arXiv:2306.15595): every angle divided by the factor."""
    return frequencies(dim, theta) / factor


def ntk(dim: int, theta: float, factor: float) -> torch.Tensor:
    """Return NTK-aware scaling (arXiv:2309.00071, section 3.1): theta grows by factor^(dim / (dim - 2)).

    The fastest frequency stays, the slowest is divided by the factor.
    """
    return frequencies(dim, theta * factor ** (dim / (dim - 2)))


def yarn(dim: int, theta: float, factor: float, trained: int, fade: float = 1.0) -> torch.Tensor:
    """Return YaRN's "NTK by parts" (arXiv:2309.00071, section 3.2): scaled by the turns over `trained` tokens.

    Fewer than SLOW turns: divided by the factor. More than FAST: left alone. Between: mixed linearly. A side of an image is short
    (64 tokens at 1024 px), no frequency turns 32 times on it, so FAST is at most what the fastest one turns: trained / 2 pi.
    `fade` multiplies both bounds, as DyPE does; 0 leaves every frequency alone.
    """
    angles = frequencies(dim, theta)
    turns = trained * angles / (2 * math.pi)
    slow, fast = SLOW * fade, min(FAST, trained / (2 * math.pi)) * fade
    kept = ((turns - slow) / (fast - slow)).clamp(0, 1) if fast > slow else (turns >= slow).double()
    return (1 - kept) * angles / factor + kept * angles


def dype_fade(sigma: float, scale: float, exponent: float) -> float:
    """Return DyPE's kappa(t) = scale t^exponent (arXiv:2510.20766); t is the noise level, 1 at the first step, 0 at the end."""
    return scale * max(0.0, sigma) ** exponent


def temperature(factors: tuple[float, float], fade: float = 1.0) -> float:
    """Return YaRN's sqrt(1 / t) = 0.1 ln s + 1 (arXiv:2309.00071, section 3.4); s is the geometric mean of the factors.

    More tokens flatten the attention; this sharpens it again. Under DyPE s becomes s^fade, so that nothing of the scaling is left
    at the end; the authors' own code leaves it constant.
    """
    return 1.0 + 0.1 * min(1.0, fade) * 0.5 * sum(math.log(factor) for factor in factors)


class NoRotation:
    """An embedder whose factors are all 1. Keeps the original one."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Return (n, 3) integer ids -> (n, head_dim / 2) complex64, all 1 + 0i."""
        return torch.ones_like(self.original(ids))


class ScaledPositions:
    """The embedder of a plan. Keeps the original one, and uses its theta, dims and lengths."""

    def __init__(self, original: Any, plan: RopePlan) -> None:
        self.original = original
        self.plan = plan
        self._tables: list[torch.Tensor] = []
        self._temperature = 1.0
        self.fade_to(1.0)

    def fade_to(self, sigma: float) -> None:
        """Make the tables for the noise level of the next step: 1 is pure noise."""
        plan = self.plan
        fade = dype_fade(sigma, plan.dype_scale, plan.dype_exponent) if plan.method == "dype" else 1.0
        angles = [frequencies(self.original.axes_dims[0], self.original.theta)]
        angles += [self._angles(axis, plan.factors[axis - 1], fade) for axis in (1, 2)]
        self._tables = [_table(a, length) for a, length in zip(angles, self.original.axes_lens, strict=True)]
        self._temperature = temperature(plan.factors, fade) if plan.method in ("yarn", "dype") else 1.0

    def _angles(self, axis: int, factor: float, fade: float) -> torch.Tensor:
        dim, theta = self.original.axes_dims[axis], self.original.theta
        if factor == 1:
            return frequencies(dim, theta)
        if self.plan.method == "linear":
            return linear(dim, theta, factor)
        if self.plan.method == "ntk":
            return ntk(dim, theta, factor)
        return yarn(dim, theta, factor, self.plan.base // self.plan.patch, fade)

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Return (n, 3) integer ids -> (n, head_dim / 2) complex64; of length 1, or of the temperature's for the image's tokens."""
        self._tables = [table.to(ids.device) for table in self._tables]
        factors = torch.cat([table[ids[:, axis]] for axis, table in enumerate(self._tables)], dim=-1)
        # The words come in a call of their own and stand at row 0, column 0. They are no more than before: not sharpened.
        if self._temperature == 1 or not bool(ids[:, 1:].any()):
            return factors
        return factors * self._temperature


def _table(angles: torch.Tensor, length: int) -> torch.Tensor:
    """Return (length, dim / 2) complex64, rounded in the same places as diffusers' own table."""
    turned = torch.outer(torch.arange(length, dtype=torch.float64), angles).float()
    return torch.polar(torch.ones_like(turned), turned)


def apply(transformer: Any, plan: RopePlan) -> None:
    """Bring the transformer to the plan, from whichever state it is in."""
    original = getattr(transformer.rope_embedder, "original", transformer.rope_embedder)
    if not plan.rotate:
        transformer.rope_embedder = NoRotation(original)
    elif plan.method == "none":
        transformer.rope_embedder = original
    else:
        transformer.rope_embedder = ScaledPositions(original, plan)


def fade_to(transformer: Any, sigma: float) -> None:
    """Update fading RoPE scaling to the remaining noise (1 at the first step)."""
    embedder = transformer.rope_embedder
    if isinstance(embedder, ScaledPositions) and embedder.plan.method == "dype":
        embedder.fade_to(sigma)
