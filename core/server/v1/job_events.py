"""Send server-sent events of jobs: one poll of the database serves every stream of a job."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import anyio.to_thread

from core.errors import QueueFullError, StudioError
from core.server.error_responses import is_temporary
from core.server.submission import changed
from core.server.v1.schemas import job_json
from core.studio import Studio

KEEP_ALIVE_SECONDS = 15.0  # a proxy closes a stream that says nothing for long
MAX_STREAMS = 20  # of one client


class StreamLimitError(QueueFullError):
    """Too many event streams of one client."""


class JobEvents:
    """The open event streams. Used by one event loop."""

    def __init__(self) -> None:
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
            feed = self._feeds[job_id] = Feed(studio, job_id)
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
    """One job, polled after each change and ten times a second while it has listeners."""

    def __init__(self, studio: Studio, job_id: str) -> None:
        self._studio = studio
        self._job_id = job_id
        self._event = asyncio.Event()
        self.listeners = 0
        self.version = 0
        self.text = ""
        self.ended = False
        self._task = asyncio.create_task(self._poll())

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

    async def _poll(self) -> None:
        mark: object = None
        while not self.ended:
            try:
                job = await anyio.to_thread.run_sync(self._studio.queue.get, self._job_id)
            except StudioError as error:
                self.ended = not is_temporary(error)  # it was removed
            else:
                text = json.dumps(job_json(job))
                self.ended = not job.state.active
                if text != self.text:
                    self.text = text
                    self.version += 1
            event, self._event = self._event, asyncio.Event()
            event.set()
            if not self.ended:
                mark = await changed(self._studio, mark)
