"""The workers of the cluster as the dispatcher sees them: which there are, what each holds, who has one in hand.

One thread listens to all of them; what belongs to an order goes into the inbox of whoever took the worker. A worker that
is gone, or has said nothing for too long in the middle of an order, is replaced, and its order is told to be lost.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.cluster.messages import Ended, Freed, Heard, Lost
from core.cluster.placement import Node, best, plan, threads
from core.cluster.pool_worker import Inbox, PoolWorker, as_one
from core.cluster.transport import Transport, WorkerGone
from core.jobs import reasons
from core.types import ClusterNode, ClusterWorker, GenerationRequest, ResumeState, WorkerStatus

HEAR_SECONDS = 0.25
MOST_STARTS = 3  # workers in a row that ended before they could begin
RESTART_SECONDS = 2.0  # from the end of a worker that never began to the next try

Prepared = tuple[str | None, Mapping[str, Any]]  # the model that a new worker loads, and with which options

log = logging.getLogger(__name__)


class WorkerPool:
    """Any thread may take workers and give them orders; `listen` is for one thread, `tend` for one other."""

    def __init__(
        self,
        link: Transport,
        workers: int | str,
        hang_seconds: float,
        prepared: Prepared,
        need: Callable[[str], int | None],
    ) -> None:
        """`need(model)` is the memory in bytes that a model wants; None where nobody knows."""
        self._link = link
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
        self.refused: Ended | None = None  # the last order to load that failed

    # -- which workers there are -----------------------------------------------------------------------------------

    def tend(self) -> None:
        """Look at the machines: start the workers that are lacking, and let those go that are too many."""
        nodes = self._link.nodes()
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
        handle = self._link.start(node, threads(node, count))
        worker = PoolWorker(f"{node.name}:{next(self._numbers)}", node, handle, time.monotonic())
        self._workers[worker.id] = worker
        self._order(worker, "prepare", *self._prepared)
        log.info("worker %s begins", worker.id)

    def _retire(self, worker: PoolWorker) -> None:
        del self._workers[worker.id]
        self._link.end(worker.handle)
        log.info("worker %s ends", worker.id)

    def add(self, node_id: str) -> None:
        """One more worker on that machine."""
        with self._guard:
            self._by_hand[node_id] = self._by_hand.get(node_id, 0) + 1

    def drain(self, worker_id: str) -> None:
        """Let a worker finish its picture and take no other."""
        with self._guard:
            worker = self._workers.get(worker_id)
            if worker is not None and not worker.draining:
                worker.draining = True
                self._by_hand[worker.node.id] = self._by_hand.get(worker.node.id, 0) - 1

    def renew(self) -> int:
        """End every worker at rest, which gives its memory back; fresh ones without a model come after. How many."""
        with self._guard:
            self._prepared = (None, {})
            idle = [worker for worker in self._workers.values() if worker.ready and worker.inbox is None]
            for worker in idle:
                self._retire(worker)
            return len(idle)

    @property
    def failing(self) -> bool:
        """Whether no worker comes up: several in a row ended before they began, and none is there."""
        return self._failed_starts >= MOST_STARTS and not any(worker.ready for worker in self._workers.values())

    # -- orders ----------------------------------------------------------------------------------------------------

    def has_free(self) -> bool:
        """Whether `take` would give a worker."""
        with self._guard:
            return bool(self._free())

    def take(self, request: GenerationRequest, job_id: str, inbox: Inbox) -> str | None:
        """The best worker that is free, for the caller alone until it is released.

        None when there is none; the inbox is told, then, when there may be one.
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

    def draw(self, worker_id: str, request: GenerationRequest, attempt: ResumeState) -> int:
        """Have a worker that was taken draw a single picture; the ticket of the order."""
        with self._guard:
            return self._order(self._workers[worker_id], "draw", request, attempt)

    def show(self, worker_id: str) -> None:
        """Have a worker say each step of its order as it happens; the others say theirs now and then, several at once."""
        with self._guard:
            worker = self._workers.get(worker_id)
            if worker is not None:
                self._link.send(worker.handle, "show", worker.ticket)

    def stop(self, worker_id: str) -> None:
        """End a worker's order within a step. It still says how it ended."""
        with self._guard:
            worker = self._workers.get(worker_id)
            if worker is not None:
                self._link.send(worker.handle, "stop", worker.ticket)

    def release(self, worker_id: str) -> None:
        """Give a worker back. One with an order in hand stops, and is free when it has."""
        with self._guard:
            worker = self._workers.get(worker_id)
            if worker is None:
                return
            if worker.busy:
                self.stop(worker_id)
            worker.inbox = worker.job = None
            self._announce()

    def stays(self, worker_id: str) -> bool:
        """Whether a worker that was taken may get another order."""
        with self._guard:
            return worker_id in self._workers and not self._workers[worker_id].draining

    def load(self, model: str, options: Mapping[str, Any]) -> None:
        """Have every worker at rest load a model, and those that come later."""
        with self._guard:
            self.refused, self._prepared = None, (model, options)
            for worker in self._workers.values():
                if worker.ready and worker.inbox is None and not worker.busy:
                    self._order(worker, "prepare", model, options)

    def _order(self, worker: PoolWorker, verb: str, *arguments: Any) -> int:
        worker.ticket += 1
        worker.busy, worker.heard = True, time.monotonic()
        self._link.send(worker.handle, verb, worker.ticket, *arguments)
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
        """Hear what the workers say, once, and hand it on."""
        with self._guard:
            by_handle = {worker.handle: worker for worker in self._workers.values()}
        heard = self._link.hear(list(by_handle), HEAR_SECONDS)
        with self._guard:
            for handle, said in heard:
                worker = by_handle[handle]
                if worker.id not in self._workers:
                    continue
                if isinstance(said, WorkerGone):
                    self._lose(worker, said.reason)
                else:
                    self._take_in(worker, said)
            self._end_the_deaf()

    def _take_in(self, worker: PoolWorker, said: Heard) -> None:
        worker.facts = said.facts or worker.facts
        for message in said.messages:
            worker.heard = time.monotonic()
            if message.ticket != worker.ticket:
                continue
            if isinstance(message, Ended):
                self._note_end(worker, message)
            if worker.inbox is not None:
                worker.inbox.put((worker.id, message))
        if any(isinstance(message, Ended) for message in said.messages):
            self._announce()

    def _note_end(self, worker: PoolWorker, ended: Ended) -> None:
        worker.busy = False
        worker.ready, self._failed_starts = True, 0
        if ended.image is not None:
            worker.finished.append(time.monotonic())
        if ended.error is not None and worker.inbox is None:
            self.refused = ended
            log.error("worker %s could not load its model\n%s", worker.id, ended.trace)
        if ended.fault is not None:  # every later call to that card would fail, too
            self._retire(worker)

    def _lose(self, worker: PoolWorker, reason: Mapping[str, str]) -> None:
        """A worker is gone: whoever has it in hand is told, and another is started at the next look."""
        log.error("worker %s: %s", worker.id, reason["en"])
        del self._workers[worker.id]
        self._link.end(worker.handle)
        if not worker.ready:
            self._failed_starts += 1
            self._not_before = time.monotonic() + RESTART_SECONDS
        if worker.inbox is not None:
            worker.inbox.put((worker.id, Lost(worker.ticket, reason)))
        self._announce()

    def _end_the_deaf(self) -> None:
        for worker in list(self._workers.values()):
            if self._hang and worker.busy and time.monotonic() - worker.heard > self._hang:
                self._lose(worker, reasons.silent(self._hang))

    # -- what there is to see --------------------------------------------------------------------------------------

    def nodes(self) -> tuple[ClusterNode, ...]:
        """The machines, for the page."""
        with self._guard:
            return tuple(ClusterNode(node.id, node.name, node.cpus, node.cards) for node in self._nodes)

    def workers(self) -> tuple[ClusterWorker, ...]:
        """The workers, for the page."""
        with self._guard:
            return tuple(worker.seen() for worker in self._workers.values())

    def status(self) -> WorkerStatus:
        """Of them all as if they were one."""
        with self._guard:
            return as_one(self._workers.values())
