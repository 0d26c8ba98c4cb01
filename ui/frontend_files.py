"""Serve the scripts, styles and fonts of Streamlit's frontend from memory.

A page that is opened for the first time asks for more than a hundred of them. Streamlit's handler reads each from the disk in a
thread, about two milliseconds of work each, while the browser waits. Their names have a hash of their content, so none becomes old.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ui.page_head import STATIC

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
