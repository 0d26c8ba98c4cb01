"""Define studies of why two images differ: what changed between them, and by how much each change moved the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class WhyChange:
    """What is changed in one step between two images: parameters by name, each with its value before and after.

    Names are "prompt", "size", "seed" and so on, or keys of options. Several stand together where only all of them at once
    give a request that can be generated.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    environment: bool = False  # not asked for: what was in effect then, such as the dtype that "auto" meant


@dataclass(frozen=True)
class WhyPlan:
    """What is to be generated: the first image, then one after each change, in this order."""

    one: str  # id of the first image
    other: str
    changes: tuple[WhyChange, ...]
    size: tuple[int, int]  # of the larger of both images as it is generated
    fixed: tuple[tuple[str, Any, Any], ...] = ()  # known differences that can't be switched: versions, files

    @property
    def renders(self) -> int:
        """Return how many images are generated."""
        return len(self.changes) + 1


@dataclass(frozen=True)
class WhyStudy:
    """A plan whose images are in the queue; `jobs` are in the order of the strip."""

    id: str
    created_at: datetime
    plan: WhyPlan
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class WhyStep:
    """One change: the image after it, its mean distance to the image before it, and its rank by that, from 1.

    `distance` is the mean absolute difference of all channels, 0 to 255; None while an image is missing.
    """

    change: WhyChange
    image_id: str = ""
    distance: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class WhyReport:
    """How far a study is, and what it has found."""

    study: WhyStudy
    first_image: str  # id; "" before it is generated
    steps: tuple[WhyStep, ...] = field(default_factory=tuple)
    done: int = 0  # images
    active: bool = False
    failed: int = 0  # jobs that failed or were cancelled

    @property
    def ranked(self) -> tuple[WhyStep, ...]:
        """Return the measured changes, the one that moved the image most first."""
        return tuple(sorted((step for step in self.steps if step.rank), key=lambda step: step.rank or 0))
