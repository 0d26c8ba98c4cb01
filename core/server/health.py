"""Answer /_stcore/health: ready, starting, or degraded with its reasons.

Starting is 503. Degraded is 200, as the pages still work and say what to do; the status is in the body for whoever watches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import StudioError
from core.server.error_responses import Answer
from core.studio import Studio

PATH = "/_stcore/health"  # where the pages, and whoever watches the server, ask


class Health:
    """ASGI middleware. `get_studio` returns None until the studio is built; `in_detail` shows reasons to everyone."""

    def __init__(self, app: ASGIApp, get_studio: Callable[[], Studio | None], in_detail: Callable[[], bool]) -> None:
        self.app = app
        self._get_studio = get_studio
        self._in_detail = in_detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        status, content = await anyio.to_thread.run_sync(self.look)
        body = b"" if scope["method"] == "HEAD" else Answer(content).body
        answer = Answer(content, status_code=status, headers={"Cache-Control": "no-store"})
        answer.body = body
        answer.raw_headers.extend(await self._cookies(scope, receive))
        await answer(scope, receive, send)

    async def _cookies(self, scope: Scope, receive: Receive) -> list[tuple[bytes, bytes]]:
        """Return the cookies of the answer in whose place this one stands: with them, pages get the token that uploads need."""
        found: list[tuple[bytes, bytes]] = []

        async def hear(message: Message) -> None:
            found.extend((name, value) for name, value in message.get("headers", ()) if name.lower() == b"set-cookie")

        await self.app(scope, receive, hear)
        return found

    def look(self) -> tuple[int, dict[str, Any]]:
        """Return the status code and the answer."""
        try:
            studio = self._get_studio()
            if studio is None:
                return 503, {"status": "starting"}
            studio.queue.is_paused()  # the database answers
            problems = [studio.worker.status().trouble, *studio.settings.problems]
        except StudioError as error:
            problems = [error]
        reasons = [problem for problem in problems if problem is not None]
        if not reasons:
            return 200, {"status": "ready"}
        return 200, {"status": "degraded", "reasons": [self._reason(reason) for reason in reasons]}

    def _reason(self, error: StudioError) -> dict[str, str]:
        if not self._in_detail():
            return {"code": error.code}
        return {"code": error.code, "en": error.message("en"), "zh": error.message("zh")}
