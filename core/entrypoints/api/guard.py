"""What every call of the service passes: a body of a bounded size. (Who may call at all is for `gate`.)

What this module does not know: what is asked for, how an error looks in each dialect (`say` knows).
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import StudioError
from core.studio import Studio

Say = Callable[[StudioError, int], Response]


class RefusedError(StudioError):
    """A call that is not answered at all; `reason` says why, by language."""

    text = {"en": "{reason}", "zh": "{reason}"}


class Guard:
    """Reads the body before anything else does, and refuses one that is too large."""

    def __init__(self, app: ASGIApp, get_studio: Callable[[], Studio], say: Say) -> None:
        self.app = app
        self._get_studio = get_studio
        self._say = say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            limit = 1024 * int(self._get_studio().settings["service.max_body_kb"])
        except StudioError as error:  # the output folder can't be used
            await self._say(error, 503)(scope, receive, send)
            return
        body = await _body(headers, receive, limit)
        if body is None:
            await self._say(_too_large(limit), 413)(scope, receive, send)
        else:
            await self.app(scope, _again(body, receive), send)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        reason={
            "en": f"The request is larger than {limit} bytes (service.max_body_kb); send a smaller one.",
            "zh": f"请求超过 {limit} 字节（service.max_body_kb）；请缩小请求。",
        }
    )


async def _body(headers: Headers, receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None as soon as it is known to be longer than `limit` bytes."""
    told = headers.get("content-length", "0")
    if told.isdigit() and int(told) > limit:
        return None
    body = bytearray()
    more = True
    while more and len(body) <= limit:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return None if len(body) > limit else bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out the body that was read, then what comes after it (that the caller has gone)."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
