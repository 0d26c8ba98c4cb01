"""What every call over HTTP passes first: only this machine, only its own pages, only bodies of a bounded size.

What this module does not know: what is asked for, how an error looks in each dialect (`say` knows).
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import StudioError
from core.studio import Studio

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Say = Callable[[StudioError, int], Response]


class RefusedError(StudioError):
    """A call that is not answered at all; `reason` says why, by language."""

    text = {"en": "{reason}", "zh": "{reason}"}


class Guard:
    """Refuses a foreign Host or Origin header: a page elsewhere must neither read pictures nor order some.

    (Its scripts may point a name of their own at 127.0.0.1, or post to it blindly.) No Access-Control header is ever
    sent, so scripts of other origins can't read an answer either.
    """

    def __init__(self, app: ASGIApp, get_studio: Callable[[], Studio], say: Say) -> None:
        self.app = app
        self._get_studio = get_studio
        self._say = say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _without_sniffing(send)
        headers = Headers(scope=scope)
        foreign = _foreign(headers)
        if foreign is not None:
            await self._say(foreign, 403)(scope, receive, send)
            return
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


def _foreign(headers: Headers) -> RefusedError | None:
    host, origin = headers.get("host", ""), headers.get("origin")
    if host_name(host) not in LOOPBACK:
        return RefusedError(
            reason={
                "en": "This address serves its own machine only; call it as 127.0.0.1 or localhost.",
                "zh": "此地址只为本机服务；请以 127.0.0.1 或 localhost 访问。",
            }
        )
    if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
        return RefusedError(
            reason={
                "en": "A page of another site may not call this studio.",
                "zh": "其他网站的页面不能调用本工作室。",
            }
        )
    return None


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        reason={
            "en": f"The request is larger than {limit} bytes (service.max_body_kb); send a smaller one.",
            "zh": f"请求超过 {limit} 字节（service.max_body_kb）；请缩小请求。",
        }
    )


def host_name(host: str) -> str:
    """The name of "name:port", where an IPv6 name has brackets and colons of its own."""
    end = host.rfind(":")
    return (host[:end] if end > host.rfind("]") else host).lower()


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


def _without_sniffing(send: Send) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"x-content-type-options", b"nosniff")]}
        await send(message)

    return send_with_header
