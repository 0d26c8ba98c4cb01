"""Which variant of a model suits a machine: the full weights, or fewer bits where memory is short."""

from __future__ import annotations

from collections.abc import Sequence

from core.types import ModelInfo

ROOM = 1.2  # weights times this must fit: latents and activations need memory, too


def recommended(variants: Sequence[ModelInfo], memory: int) -> ModelInfo:
    """Return the variant to use on a machine with `memory` bytes of VRAM (RAM without a GPU).

    One that can be used at once comes first, else the largest whose weights fit, of equal ones the smaller download; else
    the smallest.
    """
    here = [one for one in variants if one.problem is None]
    if here:
        return max(here, key=_size)
    fitting = [one for one in variants if one.memory_bytes and one.memory_bytes * ROOM <= memory]
    if fitting:
        return max(fitting, key=lambda one: (_size(one), -(one.download_bytes or 0)))
    return min(variants, key=lambda one: (_size(one), one.download_bytes or 0))


def families(models: Sequence[ModelInfo]) -> list[list[ModelInfo]]:
    """Return the models in the order given, each with the variants of it (`variant_of`) behind it in one list."""
    ids = {one.id for one in models}
    groups: dict[str, list[ModelInfo]] = {}
    for one in models:
        groups.setdefault(one.variant_of if one.variant_of in ids else one.id, []).append(one)
    return [sorted(group, key=lambda one: one.id != name) for name, group in groups.items()]


def _size(model: ModelInfo) -> int:
    return model.memory_bytes or model.disk_bytes or 0
