"""Send server-sent events of jobs: one look at a job that has changed serves every stream of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import anyio.to_thread

from core.errors import QueueFullError, StudioError
from core.server.error_responses import is_temporary
from core.server.job_marks import JobMarks
from core.server.v1.schemas import job_json
from core.studio import Studio

LOOK_SECONDS = 0.5  # between two looks at a job whose row does not change: its position may have
KEEP_ALIVE_SECONDS = 15.0  # a proxy closes a stream that says nothing for long
MAX_STREAMS = 20  # of one client


class StreamLimitError(QueueFullError):
    """Too many event streams of one client."""


class JobEvents:
    """The open event streams. Used by one event loop."""

    def __init__(self) -> None:
        self._marks = JobMarks()
        self._feeds: dict[str, Feed] = {}
        self._streams: Counter[str] = Counter()

    def admit(self, client: str) -> None:
        """Raise StreamLimitError when the client has as many streams as one may have."""
        if self._streams[client] >= MAX_STREAMS:
            raise StreamLimitError(allowed=MAX_STREAMS)

    async def stream(self, studio: Studio, job_id: str, client: str) -> AsyncIterator[str]:
        """Yield the job at each change, and a comment when it says nothing for long; the last event is named `end`."""
        self._streams[client] += 1
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = Feed(studio, job_id, self._marks)
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
                self._feeds.pop(job_id, None)
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
        with self._marks.following(self._studio, self._job_id) as followed:
            while not self.ended:
                await followed.changed(LOOK_SECONDS)
                await self._read()
                event, self._event = self._event, asyncio.Event()
                event.set()

    async def _read(self) -> None:
        try:
            job = await anyio.to_thread.run_sync(self._studio.queue.get, self._job_id)
        except StudioError as error:
            self.ended = not is_temporary(error)  # it was removed
            return
        text = json.dumps(job_json(job))
        self.ended = not job.state.active
        if text != self.text:
            self.text = text
            self.version += 1
