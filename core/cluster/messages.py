"""What an actor says to the dispatcher. `ticket` is the number of the order that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.types import GeneratedImage, Progress, WorkerStatus


@dataclass(frozen=True)
class Facts:
    """What an actor is and holds. Memory in bytes: of its card where it has one, else of its machine."""

    status: WorkerStatus
    card: str = ""  # the card's name
    memory_total: int = 0
    memory_free: int = 0
    memory_own: int = 0  # what this actor's model takes: free again for the next one


@dataclass(frozen=True)
class Step:
    """Where a picture is."""

    ticket: int
    progress: Progress


@dataclass(frozen=True)
class Ended:
    """An order is done with. `error` is `StudioError.to_dict`; `fault` says that the device failed, by language."""

    ticket: int
    image: GeneratedImage | None = None
    error: Mapping[str, Any] | None = None
    fault: Mapping[str, str] | None = None
    cancelled: bool = False
    trace: str = ""  # for the log; without prompts


@dataclass(frozen=True)
class Lost:
    """From the dispatcher's side: the actor is gone, by language why."""

    ticket: int
    reason: Mapping[str, str]


@dataclass(frozen=True)
class Freed:
    """From the dispatcher's side, to whoever found no worker free: one has become so."""

    ticket: int = -1  # it belongs to no order


@dataclass(frozen=True)
class Heard:
    """All that an actor said since it was last listened to; facts come at rest and after each order."""

    messages: tuple[Step | Ended, ...]
    facts: Facts | None = None


Message = Step | Ended | Lost | Freed
