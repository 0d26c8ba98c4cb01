"""Models and settings compared over the same prompts and seeds, and what people say of the pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class BenchmarkColumn:
    """One side of a comparison: a model and what is set for it, by schema key. One job draws all its pictures.

    Size and kind of the model are those of the day on which the comparison was made.
    """

    name: str
    model: str
    values: Mapping[str, Any] = field(default_factory=dict)
    disk_bytes: int = 0
    embedded: bool = False  # the model that is shipped, whose pictures can be asked whether they obey their prompt
    job: str = ""


@dataclass(frozen=True)
class Benchmark:
    """The same prompts and seeds drawn by each of several columns."""

    id: str
    created_at: datetime  # aware, UTC
    columns: tuple[BenchmarkColumn, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """Prompt and seed of each picture of a column, in the order of its places in the column's job (from 1)."""
        return tuple((prompt, seed) for prompt in self.prompts for seed in self.seeds)


@dataclass(frozen=True)
class Vote:
    """Which of two pictures somebody liked better, not knowing whose they are: columns `one` < `other` at the same place."""

    place: int  # of both pictures in their columns' jobs, from 1
    one: int
    other: int
    winner: int | None  # a column; None: neither
    voter: str = ""
