"""Add to the head of Streamlit's HTML what a page needs at once, and serve the frontend's files from memory.

- A page that is opened under its own address, such as /queue, is told that the server is at the root. Streamlit's script otherwise
  asks below that address first, as the app might be served there: two requests that fail with 404.
- The scripts of its widgets are fetched together with the frontend. Streamlit otherwise asks for each when the first such
  widget is shown, and then for what that script imports: three waves of requests, one after the other.
- It asks for more than a hundred files. Streamlit's handler reads each from the disk in a thread, two milliseconds of work each,
  while the browser waits. Their names have a hash of their content, so none becomes old.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

import streamlit
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC = Path(streamlit.__file__).parent / "static"
EVERYWHERE = ("Html", "BidiComponent", "ButtonGroup", "Button")  # of each page: the bar, messages, links to help
WIDGETS: Mapping[str, Sequence[str]] = {"": ("Selectbox", "TextArea", "NumberInput", "TextInput")}  # by path; "" is Generate

_HEAD, _END = b"<head>", b"</head>"
_SCRIPT = b'<script>window.__streamlit = { BACKEND_BASE_URL: location.origin + "/" };</script>'
_IMPORTED = re.compile(r'(?:from|import)"\./([^"]+\.js)"')


class PageHead:
    """ASGI middleware that adds to the HTML of the pages. `pages` are their paths without slashes, "" the first page's."""

    def __init__(self, app: ASGIApp, pages: Collection[str]) -> None:
        self.app = app
        self._pages = frozenset(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].strip("/") if scope["type"] == "http" and scope["method"] == "GET" else None
        if path not in self._pages:
            await self.app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self.app({**scope, "headers": plain}, receive, _completed(send, path))


def _completed(send: Send, path: str) -> Send:
    """Return a `send` that waits for the whole answer, adds to the head of a page and corrects its length."""
    start: Message = {}
    body = bytearray()

    async def send_whole(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        links = "".join(f'<link rel="modulepreload" crossorigin href="./static/js/{name}">' for name in preloaded(path))
        whole = bytes(body).replace(_END, links.encode() + _END, 1)
        if path:
            whole = whole.replace(_HEAD, _HEAD + _SCRIPT, 1)
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-length"] = str(len(whole))
        await send({**start, "headers": headers.raw})
        await send({**message, "body": whole})

    return send_whole


@cache
def preloaded(path: str, static: Path = STATIC) -> tuple[str, ...]:
    """Return the files of the page's widgets and of all that they import, without those that the HTML names itself.

    Their names have a hash of Streamlit's build; a widget that this build has no file for is left out.
    """
    named = set(re.findall(r"/static/js/([^\"]+\.js)", (static / "index.html").read_text(encoding="utf-8")))
    folder = static / "static" / "js"
    waiting = [file.name for widget in (*EVERYWHERE, *WIDGETS.get(path, ())) for file in folder.glob(f"{widget}.*.js")]
    found: list[str] = []
    while waiting:
        name = waiting.pop(0)
        if name in named or name in found:
            continue
        found.append(name)
        waiting += _IMPORTED.findall((folder / name).read_text(encoding="utf-8"))
    return tuple(found)


_FILE = re.compile(r"/static/(?:js|css|media)/[\w-][\w.-]*\.(?:js|css|woff2)")
_KEPT = 512  # files: all that the pages ask for
_KINDS = {".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2"}
_FOREVER = "public, immutable, max-age=31536000"


class FrontendFiles:
    """ASGI middleware that answers GET for the files of the frontend; all else is left to the app.

    `static` is the folder in which the paths of requests are looked up.
    """

    def __init__(self, app: ASGIApp, static: Path = STATIC) -> None:
        self.app = app
        self._read = lru_cache(_KEPT)(lambda path: _answer(static / path.lstrip("/")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["method"] == "GET" and _FILE.fullmatch(scope["path"]) is not None
        answer = self._read(scope["path"]) if asked else None
        await (answer or self.app)(scope, receive, send)


def _answer(file: Path) -> Response | None:
    """Return the answer that has the file's bytes; None where there is no such file."""
    if not file.is_file():
        return None
    headers = {"Cache-Control": _FOREVER, "X-Content-Type-Options": "nosniff"}
    return Response(file.read_bytes(), media_type=_KINDS[file.suffix], headers=headers)
