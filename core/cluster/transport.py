"""What the fleet needs of that which carries its words to the actors. `rays` is the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.cluster.messages import Heard
from core.cluster.placement import Node

Handle = Any  # of an actor; only the link looks into it


@dataclass(frozen=True)
class WorkerGone:
    """An actor that will say nothing more, and why, by language."""

    reason: Mapping[str, str]


class Transport(Protocol):
    """Starts actors on machines and talks to them. Used by several threads, but for `hear`."""

    def nodes(self) -> Sequence[Node]:
        """The machines that are there."""
        ...

    def start(self, node: Node, threads: int) -> Handle:
        """A new actor there that uses so many cores; it may take its time to come up."""
        ...

    def send(self, handle: Handle, verb: str, *arguments: Any) -> None:
        """Call a verb of the actor, and don't wait for it."""
        ...

    def hear(self, handles: Sequence[Handle], seconds: float) -> Sequence[tuple[Handle, Heard | WorkerGone]]:
        """What any of these has said, waiting for the first at most this long. Each is heard once."""
        ...

    def end(self, handle: Handle) -> None:
        """Kill an actor and forget it."""
        ...
