"""Choose the worker for an image, and how many workers each machine gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.config.options import SCHEMA
from core.config.schema import AUTO, TakesEffect

_RELOADING = tuple(option.key for option in SCHEMA.request_options() if option.takes_effect is TakesEffect.RELOAD)


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    id: str
    name: str
    cpus: int
    cards: int


@dataclass(frozen=True)
class Candidate:
    """A free worker and what it has loaded. Memory in bytes."""

    id: str
    model: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    memory_total: int = 0
    memory_free: int = 0  # with what its present model would give back


def best(free: Iterable[Candidate], model: str, options: Mapping[str, Any], need: int | None) -> Candidate:
    """Return the worker that has the model loaded with these options, else the one with most free memory.

    Workers with too little memory rank last but stay eligible: the generator then offloads and says so.
    """

    def rank(one: Candidate) -> tuple[bool, bool, bool, int]:
        loaded = one.model == model
        as_asked = loaded and all(one.asked.get(key) == options.get(key) for key in _RELOADING if key in one.asked)
        return as_asked, loaded, need is None or one.memory_total >= need, one.memory_free

    return max(free, key=rank)


def plan(nodes: Sequence[Node], workers: int | str) -> dict[str, int]:
    """Return the number of workers for each node id: one for each GPU; `workers` on each machine without one.

    AUTO is one on each machine if no machine has a GPU, and none on those without one otherwise.
    """
    any_card = any(node.cards for node in nodes)
    without = (0 if any_card else 1) if workers == AUTO else int(workers)
    return {node.id: node.cards or without for node in nodes}


def threads(node: Node, workers: int) -> int:
    """Return the number of cores for one of `workers` workers on a machine."""
    return max(1, node.cpus // max(1, workers))
