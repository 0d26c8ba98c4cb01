"""One worker of the fleet as the dispatcher sees it, and what there is to say of it to others. Plain data and functions."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from core.cluster.messages import Facts, Message
from core.cluster.placement import Candidate, Node
from core.cluster.transport import Handle
from core.types import ClusterWorker, WorkerStatus

HOUR = 3600.0  # seconds over which finished pictures are counted

Inbox = queue.SimpleQueue[tuple[str, Message]]  # (worker, what it said)


@dataclass
class PoolWorker:
    """One actor. `inbox` is there while someone has taken it."""

    id: str
    node: Node
    handle: Handle
    heard: float  # when it last said anything (monotonic)
    facts: Facts = field(default_factory=lambda: Facts(WorkerStatus("starting")))
    ready: bool = False
    ticket: int = 0  # of the present or last order
    busy: bool = False
    draining: bool = False
    inbox: Inbox | None = None
    job: str | None = None
    finished: deque[float] = field(default_factory=deque)  # when its pictures of the last hour were

    @property
    def free(self) -> bool:
        """Whether someone may take it."""
        return self.ready and not (self.busy or self.draining or self.inbox)

    def as_candidate(self) -> Candidate:
        """What it holds, for the choice between several."""
        facts = self.facts
        memory = facts.memory_free + facts.memory_own
        return Candidate(self.id, facts.status.model, facts.status.asked, facts.memory_total, memory)

    def seen(self) -> ClusterWorker:
        """What the page shows of it."""
        facts, now = self.facts, time.monotonic()
        while self.finished and now - self.finished[0] > HOUR:
            self.finished.popleft()
        state = "draining" if self.draining else "busy" if self.job else "loading" if self.busy else "idle"
        return ClusterWorker(
            id=self.id,
            node=self.node.name,
            state=state if self.ready else "starting",
            pid=facts.status.pid,
            device=facts.status.device,
            card=facts.card,
            memory_total=facts.memory_total,
            memory_free=facts.memory_free,
            memory_own=facts.memory_own,
            model=facts.status.model,
            job=self.job,
            images_hour=len(self.finished),
        )


def as_one(workers: Iterable[PoolWorker]) -> WorkerStatus:
    """The status of them all as if they were one: of one that has a model, if any has."""
    there = [worker for worker in workers if worker.ready]
    shown = [worker.facts.status for worker in there]
    loaded = [status for status in shown if status.model is not None]
    first = (loaded or shown or [WorkerStatus("starting")])[0]
    return replace(first, state=_state(there), memory_bytes=sum(status.memory_bytes or 0 for status in shown))


def _state(there: list[PoolWorker]) -> str:
    if not there:
        return "starting"
    if any(worker.job for worker in there):
        return "busy"
    return "loading" if all(worker.busy for worker in there) else "idle"
