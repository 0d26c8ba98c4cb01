"""Send server-sent events of jobs: one look at a job that has changed serves every stream of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio.to_thread

from core.errors import QueueFullError, StudioError
from core.server.error_responses import is_temporary
from core.server.job_marks import JobMarks
from core.server.v1.schemas import job_json
from core.studio import Studio
from core.types import Job

LOOK_SECONDS = 5.0  # between two looks at a job of which no change is heard
KEEP_ALIVE_SECONDS = 15.0  # a proxy closes a stream that says nothing for long
MAX_STREAMS = 20  # of one client


class StreamLimitError(QueueFullError):
    """Too many event streams of one client."""


class JobEvents:
    """The open event streams. Used by one event loop."""

    def __init__(self) -> None:
        self._marks = JobMarks()
        self._feeds: dict[tuple[int, str], Feed] = {}  # by the studio of a viewer, who may not see all of a job
        self._streams: Counter[str] = Counter()

    def admit(self, client: str) -> None:
        """Raise StreamLimitError when the client has as many streams as one may have."""
        if self._streams[client] >= MAX_STREAMS:
            raise StreamLimitError(allowed=MAX_STREAMS)

    async def stream(self, studio: Studio, job_id: str, client: str) -> AsyncIterator[str]:
        """Yield the job at each change, and a comment when it says nothing for long; the last event is named `end`."""
        self._streams[client] += 1
        key = (id(studio), job_id)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(studio, job_id, self._marks)
        feed.listeners += 1
        seen = 0
        try:
            while True:
                if feed.version > seen:
                    seen = feed.version
                    yield f"event: {'end' if feed.ended else 'progress'}\ndata: {feed.text}\n\n"
                if feed.ended:
                    return
                if not await feed.changed(seen):
                    yield ": still here\n\n"
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                feed.stop()
                self._feeds.pop(key, None)
            self._streams[client] -= 1
            self._streams += Counter()  # those with none are forgotten


class Feed:
    """One job, read after each change while it has listeners."""

    def __init__(self, studio: Studio, job_id: str, marks: JobMarks) -> None:
        self._studio = studio
        self._job_id = job_id
        self._marks = marks
        self._event = asyncio.Event()
        self.listeners = 0
        self.version = 0
        self.text = ""
        self.ended = False
        self._task = asyncio.create_task(self._follow())

    async def changed(self, seen: int) -> bool:
        """Wait for a later version than `seen`; False when there was none for long."""
        while self.version <= seen and not self.ended:
            try:
                await asyncio.wait_for(self._event.wait(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                return False
        return True

    def stop(self) -> None:
        """Look no more."""
        self._task.cancel()

    async def _follow(self) -> None:
        row: object = None
        job: Job | None = None
        with self._marks.following(self._studio, self._job_id) as followed:
            while not self.ended:
                changed = await followed.changed(LOOK_SECONDS)
                if job is None or not changed or followed.row != row or followed.row is None:
                    job = await self._read()
                else:
                    job = replace(job, position=followed.position)
                row = followed.row
                self._tell(job)

    async def _read(self) -> Job | None:
        """Return the job; None, and the feed has ended, when it was removed."""
        try:
            return await anyio.to_thread.run_sync(self._studio.queue.get, self._job_id)
        except StudioError as error:
            self.ended = not is_temporary(error)
            return None

    def _tell(self, job: Job | None) -> None:
        """Wake the listeners with the job as it is now."""
        if job is not None:
            text = json.dumps(job_json(job))
            self.ended = not job.state.active
            if text != self.text:
                self.text = text
                self.version += 1
        event, self._event = self._event, asyncio.Event()
        event.set()
