"""Track the workers of a cluster: which exist, what each has loaded, which is best for an image, which job has taken one.

One thread listens to all workers; messages go to the inbox of whoever has taken the worker. A worker that is gone or
silent for too long is replaced, and whoever has taken it is notified.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.cluster.transport import Ended, Facts, Freed, Handle, Heard, Lost, Message, Node, Transport, WorkerGone
from core.config.options import SCHEMA
from core.config.schema import AUTO, TakesEffect
from core.jobs import generator_protocol
from core.jobs.worker_commands import PromptCommand
from core.types import ClusterNode, ClusterWorker, GenerationRequest, ResumeState, WorkerStatus

log = logging.getLogger(__name__)

HOUR = 3600.0  # seconds over which finished images are counted

Inbox = queue.SimpleQueue[tuple[str, Message]]  # (worker, its message)

_RELOADING = tuple(option.key for option in SCHEMA.request_options() if option.takes_effect is TakesEffect.RELOAD)


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
    any_gpu = any(node.gpus for node in nodes)
    without = (0 if any_gpu else 1) if workers == AUTO else int(workers)
    return {node.id: node.gpus or without for node in nodes}


def threads(node: Node, workers: int) -> int:
    """Return the number of cores for one of `workers` workers on a machine."""
    return max(1, node.cpus // max(1, workers))


@dataclass
class PoolWorker:
    """One actor. `inbox` is set while a job has taken it."""

    id: str
    node: Node
    handle: Handle
    heard: float  # when its last message came (monotonic)
    facts: Facts = field(default_factory=lambda: Facts(WorkerStatus("starting")))
    ready: bool = False
    ticket: int = 0  # of the present or last command
    busy: bool = False
    draining: bool = False
    inbox: Inbox | None = None
    job: str | None = None
    finished: deque[float] = field(default_factory=deque)  # when its images of the last hour were

    @property
    def free(self) -> bool:
        """Return True if a job may take it."""
        return self.ready and not (self.busy or self.draining or self.inbox)

    def as_candidate(self) -> Candidate:
        """Return what it has loaded, for the choice between several."""
        facts = self.facts
        memory = facts.memory_free + facts.memory_own
        return Candidate(self.id, facts.status.model, facts.status.asked, facts.memory_total, memory)

    def seen(self) -> ClusterWorker:
        """Return what the page shows of it."""
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
            gpu=facts.gpu,
            memory_total=facts.memory_total,
            memory_free=facts.memory_free,
            memory_own=facts.memory_own,
            model=facts.status.model,
            job=self.job,
            images_hour=len(self.finished),
        )


def combined_status(workers: Iterable[PoolWorker]) -> WorkerStatus:
    """Return the status of all workers as one: of a worker with a model, if any has one."""
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


HEAR_SECONDS = 0.25
MAX_STARTS = 3  # workers in a row that ended before they could begin
RESTART_SECONDS = 2.0  # from the end of a worker that never began to the next try

Prepared = tuple[str | None, Mapping[str, Any]]  # the model that a new worker loads, and with which options


class WorkerPool:
    """Take workers and send commands from any thread; call `listen` from one thread and `tend` from one other."""

    def __init__(
        self,
        transport: Transport,
        workers: int | str,
        hang_seconds: float,
        prepared: Prepared,
        need: Callable[[str], int | None],
    ) -> None:
        """Start without workers. `need(model)` returns the memory in bytes that a model needs; None if unknown."""
        self._transport = transport
        self._wanted = workers
        self._hang = hang_seconds
        self._prepared = prepared
        self._need = need
        self._guard = threading.RLock()
        self.changed = threading.Condition(self._guard)  # a worker has become free, or ended
        self._workers: dict[str, PoolWorker] = {}
        self._turned_away: list[Inbox] = []  # of those who found no worker free
        self._nodes: Sequence[Node] = ()
        self._by_hand: dict[str, int] = {}  # by node: workers that people added, or drained (below 0)
        self._numbers = itertools.count(1)
        self._failed_starts = 0
        self._not_before = 0.0  # when the next worker may be started (monotonic)
        self.refused: Ended | None = None  # the last command to load that failed

    # -- which workers there are -----------------------------------------------------------------------------------

    def tend(self) -> None:
        """Update the list of machines, start missing workers, end surplus ones."""
        nodes = self._transport.nodes()
        with self._guard:
            self._nodes = nodes
            for node_id, count in plan(nodes, self._wanted).items():
                count = max(0, count + self._by_hand.get(node_id, 0))
                node = next(node for node in nodes if node.id == node_id)
                own = [worker for worker in self._workers.values() if worker.node.id == node_id and not worker.draining]
                for _ in range(count - len(own)):
                    self._start(node, count)
                for worker in own[count:]:
                    worker.draining = True
            for worker in [worker for worker in self._workers.values() if worker.draining and worker.inbox is None]:
                self._retire(worker)

    def _start(self, node: Node, count: int) -> None:
        if time.monotonic() < self._not_before:
            return
        handle = self._transport.start(node, threads(node, count))
        worker = PoolWorker(f"{node.name}:{next(self._numbers)}", node, handle, time.monotonic())
        self._workers[worker.id] = worker
        self._order(worker, "prepare", *self._prepared)
        log.info("worker %s begins", worker.id)

    def _retire(self, worker: PoolWorker) -> None:
        del self._workers[worker.id]
        self._transport.end(worker.handle)
        log.info("worker %s ends", worker.id)

    def add(self, node_id: str) -> None:
        """Add one worker on a machine."""
        with self._guard:
            self._by_hand[node_id] = self._by_hand.get(node_id, 0) + 1

    def drain(self, worker_id: str) -> None:
        """Let a worker finish its image and take no other."""
        with self._guard:
            worker = self._workers.get(worker_id)
            if worker is not None and not worker.draining:
                worker.draining = True
                self._by_hand[worker.node.id] = self._by_hand.get(worker.node.id, 0) - 1

    def renew(self) -> int:
        """Restart every idle worker without a model, which frees its memory; return their number."""
        with self._guard:
            self._prepared = (None, {})
            idle = [worker for worker in self._workers.values() if worker.ready and worker.inbox is None]
            for worker in idle:
                self._retire(worker)
            return len(idle)

    @property
    def failing(self) -> bool:
        """Return True if no worker starts: several in a row ended early, and none is left."""
        return self._failed_starts >= MAX_STARTS and not any(worker.ready for worker in self._workers.values())

    # -- config ----------------------------------------------------------------------------------------------------

    def has_free(self) -> bool:
        """Return True if `take` would return a worker."""
        with self._guard:
            return bool(self._free())

    def take(self, request: GenerationRequest, job_id: str, inbox: Inbox) -> str | None:
        """Return the best free worker, for the caller alone until it is released.

        None if there is none; the inbox then gets a message when one may be free.
        """
        with self._guard:
            free = self._free()
            if not free:
                if inbox not in self._turned_away:
                    self._turned_away.append(inbox)
                return None
            need = self._need(request.model) if len(free) > 1 else None  # looked up on disk: only where it decides
            candidates = [worker.as_candidate() for worker in free]
            worker = self._workers[best(candidates, request.model, request.options, need).id]
            worker.inbox, worker.job = inbox, job_id
            return worker.id

    def generate(self, worker_id: str, request: GenerationRequest, attempt: ResumeState) -> int:
        """Have a taken worker generate a single image; return the ticket of the command."""
        with self._guard:
            return self._order(self._workers[worker_id], "generate", request, attempt)

    def write(self, worker_id: str, command: PromptCommand) -> int:
        """Have a taken worker write a prompt, and report the words as they come; return the ticket of the command."""
        with self._guard:
            worker = self._workers[worker_id]
            ticket = self._order(worker, "write", command)
            self._transport.send(worker.handle, "show", ticket)
            return ticket

    def show(self, worker_id: str) -> None:
        """Have a worker report each step as it happens; the others collect theirs."""
        with self._guard:
            worker = self._workers.get(worker_id)
            if worker is not None:
                self._transport.send(worker.handle, "show", worker.ticket)

    def stop(self, worker_id: str) -> None:
        """End a worker's command within a step. It still reports its end."""
        with self._guard:
            worker = self._workers.get(worker_id)
            if worker is not None:
                self._transport.send(worker.handle, "stop", worker.ticket)

    def release(self, worker_id: str) -> None:
        """Release a worker. One with a command in progress stops, and is free then."""
        with self._guard:
            worker = self._workers.get(worker_id)
            if worker is None:
                return
            if worker.busy:
                self.stop(worker_id)
            worker.inbox = worker.job = None
            self._announce()

    def stays(self, worker_id: str) -> bool:
        """Return True if a taken worker may get another command."""
        with self._guard:
            return worker_id in self._workers and not self._workers[worker_id].draining

    def load(self, model: str, options: Mapping[str, Any]) -> None:
        """Have every idle worker load a model, and later ones as well."""
        with self._guard:
            self.refused, self._prepared = None, (model, options)
            for worker in self._workers.values():
                if worker.ready and worker.inbox is None and not worker.busy:
                    self._order(worker, "prepare", model, options)

    def _order(self, worker: PoolWorker, verb: str, *arguments: Any) -> int:
        worker.ticket += 1
        worker.busy, worker.heard = True, time.monotonic()
        self._transport.send(worker.handle, verb, worker.ticket, *arguments)
        return worker.ticket

    def _free(self) -> list[PoolWorker]:
        return [worker for worker in self._workers.values() if worker.free]

    def _announce(self) -> None:
        """Wake up those who wait for a worker."""
        self.changed.notify_all()
        if self._turned_away and self._free():
            for inbox in self._turned_away:
                inbox.put(("", Freed()))
            self._turned_away.clear()

    # -- what they say ---------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Receive messages once and deliver them."""
        with self._guard:
            by_handle = {worker.handle: worker for worker in self._workers.values()}
        heard = self._transport.hear(list(by_handle), HEAR_SECONDS)
        with self._guard:
            for handle, message in heard:
                worker = by_handle[handle]
                if worker.id not in self._workers:
                    continue
                if isinstance(message, WorkerGone):
                    self._lose(worker, message.reason)
                else:
                    self._receive(worker, message)
            self._drop_silent()

    def _receive(self, worker: PoolWorker, heard: Heard) -> None:
        worker.facts = heard.facts or worker.facts
        for message in heard.messages:
            worker.heard = time.monotonic()
            if message.ticket != worker.ticket:
                continue
            if isinstance(message, Ended):
                self._note_end(worker, message)
            if worker.inbox is not None:
                worker.inbox.put((worker.id, message))
        if any(isinstance(message, Ended) for message in heard.messages):
            self._announce()

    def _note_end(self, worker: PoolWorker, ended: Ended) -> None:
        worker.busy = False
        worker.ready, self._failed_starts = True, 0
        if ended.image is not None:
            worker.finished.append(time.monotonic())
        if ended.error is not None and worker.inbox is None:
            self.refused = ended
            log.error("worker %s could not load its model\n%s", worker.id, ended.trace)
        if ended.fault is not None:  # every later call to that GPU would fail, too
            self._retire(worker)

    def _lose(self, worker: PoolWorker, reason: Mapping[str, str]) -> None:
        """Remove a worker that is gone and tell whoever has taken it; `tend` starts another."""
        log.error("worker %s: %s", worker.id, reason["en"])
        del self._workers[worker.id]
        self._transport.end(worker.handle)
        if not worker.ready:
            self._failed_starts += 1
            self._not_before = time.monotonic() + RESTART_SECONDS
        if worker.inbox is not None:
            worker.inbox.put((worker.id, Lost(worker.ticket, reason)))
        self._announce()

    def _drop_silent(self) -> None:
        for worker in list(self._workers.values()):
            if self._hang and worker.busy and time.monotonic() - worker.heard > self._hang:
                self._lose(worker, generator_protocol.silent(self._hang))

    # -- what there is to see --------------------------------------------------------------------------------------

    def nodes(self) -> tuple[ClusterNode, ...]:
        """Return the machines, for the page."""
        with self._guard:
            return tuple(ClusterNode(node.id, node.name, node.cpus, node.gpus) for node in self._nodes)

    def workers(self) -> tuple[ClusterWorker, ...]:
        """Return the workers, for the page."""
        with self._guard:
            return tuple(worker.seen() for worker in self._workers.values())

    def status(self) -> WorkerStatus:
        """Return the combined status of all workers."""
        with self._guard:
            return combined_status(self._workers.values())
