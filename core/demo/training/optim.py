"""Optimise: Muon for matrices with AdamW for the rest, the learning-rate curve, an average of weights, checkpoints of all.

`torch.optim.Muon` takes only 2-D weights; this one also takes convolutions (as output x everything else), which is
why it exists. Muon needs less than half of AdamW's steps on both networks here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn


def orthogonal(matrices: Tensor, steps: int = 5, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Return the nearest (semi-)orthogonal matrices, about, by the quintic Newton-Schulz iteration of Muon, in `dtype`."""
    x = matrices.to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; scaled so that an update has the size of one of AdamW at the same rate."""

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update all weights by their gradients."""
        for group in self.param_groups:
            # Weights of one shape go through the iteration together: few large products instead of many small ones.
            shapes: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"]).reshape(len(p), -1)
                shapes.setdefault(tuple(update.shape), []).append((p, update))
            for shape, pairs in shapes.items():
                scale = 0.2 * math.sqrt(max(shape))
                updates = orthogonal(torch.stack([update for _, update in pairs]), dtype=self._dtype)
                for (p, _), update in zip(pairs, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.reshape(p.shape), alpha=-group["lr"] * scale)


class Optimizers:
    """Muon, computed in `dtype`, on weights of two or more dimensions, AdamW on the rest and on what `by_adamw` names."""

    def __init__(
        self, model: nn.Module, muon_lr: float, adamw_lr: float, by_adamw: tuple[str, ...] = (),
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:  # fmt: skip
        matrices: list[Tensor] = []
        rest: list[Tensor] = []
        for name, p in model.named_parameters():
            if p.requires_grad:
                (matrices if p.ndim >= 2 and not any(n in name for n in by_adamw) else rest).append(p)
        self._all = [
            Muon(matrices, lr=muon_lr, weight_decay=0.01, dtype=dtype),
            torch.optim.AdamW(rest, lr=adamw_lr, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self._base = [muon_lr, adamw_lr]
        self._params = matrices + rest

    def step(self, factor: float) -> None:
        """Clip the gradients to norm 1, update with learning rates times `factor`, and clear the gradients."""
        nn.utils.clip_grad_norm_(self._params, 1.0)
        for optimizer, lr in zip(self._all, self._base, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> list[dict]:
        """Return the states of both optimizers, for `load`."""
        return [o.state_dict() for o in self._all]

    def load(self, states: list[dict]) -> None:
        """Restore the states that `state` returned."""
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)


def curve(progress: float, warmup: float = 0.02, hold: float = 0.0) -> float:
    """Return the part of the full learning rate at `progress` (0 to 1): warm-up, hold, then a cosine to zero."""
    if progress < warmup:
        return max(progress, 1e-4) / warmup
    if progress < hold:
        return 1.0
    start = max(hold, warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - start) / (1 - start))))


class Average:
    """An exponential moving average of a model's weights; shorter at the start, when the weights still run."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay, self._steps = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's weights."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for mine, its in zip(self.model.parameters(), model.parameters(), strict=True):
            mine.lerp_(its, 1 - decay)


def save_checkpoint(
    path: Path, model: nn.Module, average: Average, optimizers: Optimizers, seconds: float, step: int
) -> None:
    """Write the state of a training to one file, whole or not at all; `seconds` is the time spent so far."""
    state = {
        "model": model.state_dict(),
        "average": average.model.state_dict(),
        "optimizers": optimizers.state(),
        "seconds": seconds,
        "step": step,
    }
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def load_checkpoint(path: Path, model: nn.Module, average: Average, optimizers: Optimizers) -> tuple[float, int]:
    """Restore the state that `save_checkpoint` wrote; return the seconds and the steps so far."""
    saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["model"])
    average.model.load_state_dict(saved["average"])
    optimizers.load(saved["optimizers"])
    return saved["seconds"], saved["step"]
