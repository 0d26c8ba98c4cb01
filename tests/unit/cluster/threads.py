"""A link whose actors are threads of this process: the real actors, pool and generator, without Ray between them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from core.cluster.actor import GeneratorActor
from core.cluster.transport import Heard, Node, WorkerGone
from core.cluster.worker_pool import WorkerPool
from core.jobs import generator_protocol

FAKE = "tests.integration.jobs.fake_generator:build_generator"
PATIENCE = 60.0  # seconds; only a failing test waits this long


class Handle:
    def __init__(self, actor: GeneratorActor, node: Node) -> None:
        self.actor, self.node, self.alive = actor, node, True


class ThreadLink:
    """`machines` may be changed by a test; `kill` is what a kill -9 of an actor is to Ray."""

    def __init__(self, *machines: Node, generator: str = FAKE) -> None:
        self.machines = list(machines)
        self.handles: list[Handle] = []
        self._generator = generator
        self._heard: queue.SimpleQueue[tuple[Handle, Heard | WorkerGone]] = queue.SimpleQueue()

    def nodes(self) -> Sequence[Node]:
        return list(self.machines)

    def start(self, node: Node, threads: int) -> Handle:
        handle = Handle(GeneratorActor(self._generator, "configs", {}), node)
        self.handles.append(handle)
        threading.Thread(target=self._listen, args=(handle,), daemon=True).start()
        return handle

    def _listen(self, handle: Handle) -> None:
        while handle.alive:
            heard = handle.actor.listen()
            if handle.alive:
                self._heard.put((handle, heard))

    def send(self, handle: Handle, verb: str, *arguments: Any) -> None:
        getattr(handle.actor, verb)(*arguments)

    def hear(self, handles: Sequence[Handle], seconds: float) -> Sequence[tuple[Handle, Heard | WorkerGone]]:
        heard = []
        with suppress(queue.Empty):
            heard.append(self._heard.get(timeout=seconds))
            while True:
                heard.append(self._heard.get_nowait())
        for handle, said in heard:
            if handle not in handles:  # it was not asked about yet
                self._heard.put((handle, said))
        return [(handle, said) for handle, said in heard if handle in handles]

    def end(self, handle: Handle) -> None:
        handle.alive = False
        handle.actor.stop(1_000_000)

    def kill(self, worker_id: str, pool: WorkerPool) -> None:
        """The actor of this worker is gone at once."""
        handle = pool._workers[worker_id].handle
        self.end(handle)
        self._heard.put((handle, WorkerGone(generator_protocol.actor_gone(handle.node.name))))


def machine(name: str = "one", gpus: int = 0) -> Node:
    return Node(f"id of {name}", name, cpus=4, gpus=gpus)


@contextmanager
def running(link: ThreadLink, workers: int | str = 2, hang: float = 0.0) -> Iterator[WorkerPool]:
    """A pool whose workers are up, tended and listened to."""
    pool, stopping = WorkerPool(link, workers, hang, (None, {}), lambda model: None), threading.Event()

    def keep(act: Callable[[], None]) -> None:
        while not stopping.is_set():
            act()

    def tend() -> None:
        pool.tend()
        time.sleep(0.01)

    threads = [
        threading.Thread(target=keep, args=(pool.listen,)),
        threading.Thread(target=keep, args=(tend,)),
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: pool.workers() and all(worker.state == "idle" for worker in pool.workers()))
        yield pool
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
        for handle in link.handles:
            link.end(handle)


def until(look: Callable[[], Any]) -> Any:
    """Return the first true value of `look()`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError("waited in vain")
