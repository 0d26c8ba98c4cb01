"""Answer programs that call an address of another server with 404 as JSON, instead of the page that Streamlit has for any path."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from core.server.error_responses import Answer, described, nothing_here

_FOLDERS = (  # first parts of paths that are served
    "_stcore", "static", "media", "component", "app", "samples", "api", "v1", "sdapi", "controlnet", "pulse",
    "login", "logout", "metrics",
)  # fmt: skip
_FILES = ("favicon.png", "favicon.ico", "manifest.json", "index.html", "robots.txt")
_OF_PROGRAMS = (  # first parts of paths that other servers of this kind have: never a page, whatever is accepted
    "internal", "sdcpp", "config", "system_stats", "object_info", "sdapi", "v1", "api", "openai", "openapi.json",
    "agent-scheduler", "adetailer", "rembg", "reactor", "tagger", "segment-anything", "deforum_api", "run", "gradio_api", "upload",
)  # fmt: skip


class UnknownPaths:
    """ASGI middleware around the pages. `pages` are the paths of pages, without slashes."""

    def __init__(self, app: ASGIApp, pages: Collection[str]) -> None:
        self.app = app
        self._pages = frozenset(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._is_unknown(scope):
            error = nothing_here()
            body = {"detail": "Not Found", "error": described(error)}
            await Answer(body, status_code=404)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_unknown(self, scope: Scope) -> bool:
        first, _, rest = scope["path"].strip("/").partition("/")
        if first in _FOLDERS or first in _FILES:
            return first == "sdapi" and not rest.startswith("v1/")
        if first in _OF_PROGRAMS:
            return True
        if not first or first in self._pages:
            return False
        return "text/html" not in Headers(scope=scope).get("accept", "")
