"""Tell a page that is opened under its own address, such as /queue, that the server is at the root.

Streamlit's script otherwise asks below that address first, as the app might be served there: two requests that fail with 404.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD = b"<head>"
_SCRIPT = b'<script>window.__streamlit = { BACKEND_BASE_URL: location.origin + "/" };</script>'


class PageRoot:
    """ASGI middleware that adds one line to the HTML of the pages. `pages` are their paths, without slashes."""

    def __init__(self, app: ASGIApp, pages: Collection[str]) -> None:
        self.app = app
        self._pages = frozenset(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"].strip("/") not in self._pages:
            await self.app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self.app({**scope, "headers": plain}, receive, _with_script(send))


def _with_script(send: Send) -> Send:
    """Return a `send` that waits for the whole answer, adds the line to the head of a page and corrects its length."""
    start: Message = {}
    body = bytearray()

    async def send_whole(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        whole = bytes(body).replace(_HEAD, _HEAD + _SCRIPT, 1)
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-length"] = str(len(whole))
        await send({**start, "headers": headers.raw})
        await send({**message, "body": whole})

    return send_whole
