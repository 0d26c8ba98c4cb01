"""Define the messages between the dispatcher and its actors, and the protocol of a transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from core.types import GeneratedImage, Progress, WorkerStatus


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    id: str
    name: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Facts:
    """What an actor is and has loaded. Memory in bytes: of its GPU if it has one, else of its machine."""

    status: WorkerStatus
    gpu: str = ""  # the GPU's name
    memory_total: int = 0
    memory_free: int = 0
    memory_own: int = 0  # what this actor's model takes: free again for the next one


@dataclass(frozen=True)
class Step:
    """Progress of an image."""

    ticket: int
    progress: Progress


@dataclass(frozen=True)
class Words:
    """What there is of a prompt that is being written."""

    ticket: int
    text: str


@dataclass(frozen=True)
class Ended:
    """A command has ended. `error` is `StudioError.to_dict`; `fault` is the reason of a failed device, by language."""

    ticket: int
    image: GeneratedImage | None = None
    error: Mapping[str, Any] | None = None
    fault: Mapping[str, str] | None = None
    cancelled: bool = False
    trace: str = ""  # for the log; without prompts


@dataclass(frozen=True)
class Lost:
    """From the dispatcher: the actor is gone, with the reason by language."""

    ticket: int
    reason: Mapping[str, str]


@dataclass(frozen=True)
class Freed:
    """From the dispatcher to those who found no free worker: one is free."""

    ticket: int = -1  # it belongs to no command


@dataclass(frozen=True)
class Heard:
    """The messages of an actor since the last call; `facts` come when idle and after each command."""

    messages: tuple[Step | Words | Ended, ...]
    facts: Facts | None = None


Message = Step | Words | Ended | Lost | Freed


Handle = Any  # of an actor; only the transport looks into it


@dataclass(frozen=True)
class WorkerGone:
    """An actor that is gone, with the reason by language."""

    reason: Mapping[str, str]


class Transport(Protocol):
    """Start actors on machines and call them. Thread-safe except for `hear`."""

    def nodes(self) -> Sequence[Node]:
        """Return the machines that are up."""
        ...

    def start(self, node: Node, threads: int) -> Handle:
        """Start an actor that uses so many cores; it may take its time to come up."""
        ...

    def send(self, handle: Handle, verb: str, *arguments: Any) -> None:
        """Call a method of the actor without waiting."""
        ...

    def hear(self, handles: Sequence[Handle], seconds: float) -> Sequence[tuple[Handle, Heard | WorkerGone]]:
        """Return the messages of these actors, waiting at most `seconds` for the first. Each is returned once."""
        ...

    def end(self, handle: Handle) -> None:
        """Kill an actor and forget it."""
        ...
