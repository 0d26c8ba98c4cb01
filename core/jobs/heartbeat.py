"""What a worker says of itself in the roster: alive, idle or busy, which model is in its memory and how."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

import psutil

from core.errors import StorageError
from core.jobs.cuda_allocator import VARIABLE
from core.jobs.generator_protocol import LazyGenerator
from core.jobs.worker_registry import WorkerRegistry
from core.types import WorkerStatus

BEAT_SECONDS = 2.0  # a worker says this often that it lives

log = logging.getLogger(__name__)


class Heartbeat:
    """Of the calling process, for one thread. `good_jobs`, the jobs that it finished well, go with each word."""

    def __init__(self, worker_id: str, roster: WorkerRegistry, status: Callable[[str], WorkerStatus]) -> None:
        """`status` gives what there is to say in a state."""
        self._id = worker_id
        self._roster = roster
        self._status = status
        self._said: tuple[object, float] = ("", 0.0)  # what was last written, and when (monotonic seconds)
        self.good_jobs = 0

    def say(self, state: str, more: object = None) -> None:
        """Write the worker's row when state or `more` changed or the last word is old. No job fails for want of it."""
        said, when = self._said
        if (state, more) == said and time.monotonic() - when < BEAT_SECONDS:
            return
        try:
            self._roster.write(self._id, self._status(state), self.good_jobs)
        except StorageError:
            log.exception("the worker's status could not be written")
        self._said = ((state, more), time.monotonic())


def status_of(state: str, generator: LazyGenerator, unloaded_from: int | None = None) -> WorkerStatus:
    """What this process is and has in memory."""
    memory = psutil.Process().memory_info().rss
    told = os.environ.get(VARIABLE, "")
    loaded = generator.loaded
    if loaded is None:
        return WorkerStatus(state, os.getpid(), memory_bytes=memory, unloaded_from=unloaded_from, allocator=told)
    return WorkerStatus(
        state=state,
        pid=os.getpid(),
        model=loaded.model,
        device=loaded.device,
        memory_bytes=memory,
        load_seconds=loaded.load_seconds,
        decisions=tuple(loaded.decisions),
        versions=loaded.versions,
        asked=loaded.asked,
        effective=loaded.effective,
        capabilities=tuple(loaded.capabilities),
        allocator=told,
    )
