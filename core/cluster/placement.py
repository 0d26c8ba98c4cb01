"""Which worker gets a picture, and how many workers each machine is to have. Plain functions."""

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
    """A worker that is free, and what it holds. Memory in bytes."""

    id: str
    model: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    memory_total: int = 0
    memory_free: int = 0  # with what its present model would give back


def best(free: Iterable[Candidate], model: str, options: Mapping[str, Any], need: int | None) -> Candidate:
    """The one of at least one that has the model in memory as the options want it, else the freest with `need` bytes.

    None is refused for want of memory: the generator holds less of the model on the card, then, and says so.
    """

    def rank(one: Candidate) -> tuple[bool, bool, bool, int]:
        loaded = one.model == model
        as_asked = loaded and all(one.asked.get(key) == options.get(key) for key in _RELOADING if key in one.asked)
        return as_asked, loaded, need is None or one.memory_total >= need, one.memory_free

    return max(free, key=rank)


def plan(nodes: Sequence[Node], workers: int | str) -> dict[str, int]:
    """How many workers each machine has, by node: one for each card; `workers` on each machine without one.

    AUTO is one on each machine where no machine has a card, and none there where some have.
    """
    any_card = any(node.cards for node in nodes)
    without = (0 if any_card else 1) if workers == AUTO else int(workers)
    return {node.id: node.cards or without for node in nodes}


def threads(node: Node, workers: int) -> int:
    """The cores that one of so many workers may use."""
    return max(1, node.cpus // max(1, workers))
