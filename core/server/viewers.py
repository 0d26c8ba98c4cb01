"""Identify the viewer of a request: a user with own images and jobs, a browser, or a program.

The gate tells it in headers that nobody else can set; the routes get the studio with the rights of that viewer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextvars import ContextVar

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from core.server.submission import BROWSER_COOKIE, CLIENT_HEADER, PRIVATE_HEADER, ROLE_HEADER, USER_HEADER
from core.studio import Studio
from core.types import ANYONE, USER_CLIENT, Viewer

_CURRENT: ContextVar[Viewer] = ContextVar("viewer", default=ANYONE)


def page_client(headers: Mapping[str, str], cookies: Mapping[str, str]) -> str:
    """Return the client of a browser's jobs: the user if there are users, else a digest of the browser's cookie."""
    if name := headers.get(USER_HEADER):
        return f"{USER_CLIENT}{name}"
    cookie = cookies.get(BROWSER_COOKIE)
    name = cookie if isinstance(cookie, str) else ""  # none in a page without a browser
    return f"page:{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def viewer_of(headers: Mapping[str, str], cookies: Mapping[str, str], address: str = "") -> Viewer:
    """Return the viewer of a request. Programs are identified by X-Client-Id, else by their address."""
    admin = headers.get(ROLE_HEADER) in (None, "admin")
    private = headers.get(PRIVATE_HEADER) is not None
    if headers.get(USER_HEADER) or cookies.get(BROWSER_COOKIE):
        return Viewer(page_client(headers, cookies), admin, private)
    program = headers.get(CLIENT_HEADER) or address
    return Viewer(f"http:{hashlib.sha256(program.encode()).hexdigest()[:16]}", admin, private)


class Viewers:
    """ASGI middleware inside the gate: routes below it see the studio as the caller may."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        caller = HTTPConnection(scope)
        token = _CURRENT.set(viewer_of(caller.headers, caller.cookies, caller.client.host if caller.client else ""))
        try:
            await self.app(scope, receive, send)
        finally:
            _CURRENT.reset(token)


def viewed(get_studio: Callable[[], Studio]) -> Callable[[], Studio]:
    """Return what gives the studio with the rights of the caller whose request is answered."""
    return lambda: get_studio().seen_by(_CURRENT.get())
