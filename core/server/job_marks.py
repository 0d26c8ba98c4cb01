"""Tell calls that wait for jobs when those have changed: one look at the database after each commit serves all of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio.to_thread

from core.studio import Studio
from core.types import JobState

POLL_SECONDS = 0.1  # between two looks at a database server
QUICK_POLL_SECONDS = 0.01  # between two looks, whether anything was written, at a database in a file
POSITION_SECONDS = 0.5  # between two looks at the positions of waiting jobs: any job ahead may change them, and time may

Mark = tuple[Any, ...]  # of a job's row, and its position in the queue: another one after each change
log = logging.getLogger(__name__)


class JobMarks:
    """The jobs that calls wait for. For one event loop; nothing is looked at while there are none."""

    def __init__(self) -> None:
        self._followed: Counter[str] = Counter()
        self._marks: dict[str, Mark | None] = {}  # None: there is no such job any more
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def following(self, studio: Studio, job_id: str) -> Iterator[JobWatch]:
        """Have a job looked at within the block."""
        self._followed[job_id] += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(studio))
        try:
            yield JobWatch(self, job_id)
        finally:
            self._followed[job_id] -= 1
            if not self._followed[job_id]:
                del self._followed[job_id]
                self._marks.pop(job_id, None)

    async def changed(self, job_id: str, seen: object, seconds: float) -> object:
        """Return the job's mark as soon as it is another one than `seen`, or `seen` after so many seconds."""
        until = asyncio.get_running_loop().time() + seconds
        while (mark := self._marks.get(job_id, seen)) == seen:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                return seen
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                return seen
        return mark

    async def _look(self, studio: Studio) -> None:
        written: object = None
        places = Positions(studio)
        while self._followed:
            asked = set(self._followed)
            try:
                found = await anyio.to_thread.run_sync(_read, studio, asked, places)
                self._note({job_id: found.get(job_id) for job_id in asked if job_id in self._followed})
                written = await self._written(studio, written, asked, places)
            except Exception:  # a database that is away, whatever its driver says: who waits has a time of his own
                log.warning("jobs that are waited for could not be looked at", exc_info=True)
                await asyncio.sleep(POLL_SECONDS)

    def _note(self, marks: dict[str, Mark | None]) -> None:
        """Wake those who wait if any of these is new."""
        if all(job_id in self._marks and self._marks[job_id] == mark for job_id, mark in marks.items()):
            return
        self._marks |= marks
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _written(self, studio: Studio, seen: object, asked: set[str], places: Positions) -> object:
        """Return what marks the database of now, once it was written to since `seen`, other jobs are followed or places are due."""
        if studio.queue.is_shared:  # a mark is a question to a server, as is the look itself
            await asyncio.sleep(POLL_SECONDS)
            return None
        while (now := studio.queue.change_mark()) == seen and asked == set(self._followed) and not places.due:
            await asyncio.sleep(QUICK_POLL_SECONDS)
        return now


class Positions:
    """The positions of waiting jobs, of at most POSITION_SECONDS ago."""

    def __init__(self, studio: Studio) -> None:
        self._queue = studio.queue
        self._waiting: set[str] = set()
        self._found: dict[str, int] = {}
        self._until = 0.0

    @property
    def due(self) -> bool:
        """Return whether any job waits and its position is to be read again."""
        return bool(self._waiting) and time.monotonic() >= self._until

    def of(self, waiting: set[str]) -> Mapping[str, int]:
        """Return the position of each of these jobs that may run."""
        new, self._waiting = not waiting <= self._waiting, waiting
        if new or self.due:
            self._found = self._queue.positions(waiting)
            self._until = time.monotonic() + POSITION_SECONDS
        return self._found


def _read(studio: Studio, job_ids: set[str], places: Positions) -> dict[str, Mark]:
    rows = studio.queue.marks(job_ids)
    found = places.of({job_id for job_id, row in rows.items() if row[0] == JobState.QUEUED})
    return {job_id: (*row, found.get(job_id) if row[0] == JobState.QUEUED else None) for job_id, row in rows.items()}


class JobWatch:
    """One job that is followed, by one caller."""

    def __init__(self, marks: JobMarks, job_id: str) -> None:
        self._marks = marks
        self._job_id = job_id
        self._seen: object = object()  # equals no mark

    async def changed(self, seconds: float) -> bool:
        """Return True as soon as the job has changed since the last call (the first time: at once), False after so many seconds."""
        before, self._seen = self._seen, await self._marks.changed(self._job_id, self._seen, seconds)
        return before is not self._seen

    @property
    def state(self) -> str | None:
        """Return the state that the last change led to; None when there is no such job, or before the first change."""
        return str(self._seen[0]) if isinstance(self._seen, tuple) else None

    @property
    def row(self) -> Mark | None:
        """Return what the last change led to in the job's row; None as for `state`."""
        return self._seen[:-1] if isinstance(self._seen, tuple) else None

    @property
    def position(self) -> int | None:
        """Return the job's position in the queue that the last change led to, if it waits and may run."""
        return self._seen[-1] if isinstance(self._seen, tuple) else None
