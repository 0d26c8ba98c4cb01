"""The headers of every answer, and the cookie by which a browser's jobs are known."""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Scope, Send

from core.server.submission import BROWSER_COOKIE

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OWN_SOURCES = (  # nothing is loaded from, or sent to, another server, whatever a file name or a prompt makes of a page
    "base-uri 'self'; object-src 'none'; form-action 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; font-src 'self' data:; frame-src 'self' data: blob:"
)
_SELF, _NOBODY = "'self'", "'none'"
_FRAMED = "/component/"  # below it are frames of our own pages


def known_browser(headers: Headers) -> bool:
    """Return True if the request has the cookie of a browser."""
    return f"{BROWSER_COOKIE}=" in headers.get("cookie", "")


def new_browser(scope: Scope, headers: Headers) -> str:
    """Return a cookie for a new browser, "" for other clients, so that it finds its jobs again at the second request."""
    if scope["method"] != "GET" or "text/html" not in headers.get("accept", ""):
        return ""
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    year = 365 * 24 * 3600
    return f"{BROWSER_COOKIE}={secrets.token_urlsafe(16)}; Path=/; Max-Age={year}; HttpOnly; SameSite=Strict{secure}"


def with_headers(send: Send, cookie: str, path: str) -> Send:
    """Return a `send` with these headers on every answer and, where there is one, that cookie."""
    framed = path.startswith(_FRAMED)
    own = {
        **_HEADERS,
        "X-Frame-Options": "SAMEORIGIN" if framed else "DENY",
        "Content-Security-Policy": f"frame-ancestors {_SELF if framed else _NOBODY}; {_OWN_SOURCES}",
    }

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in own.items():
                headers.setdefault(name, value)
            if cookie:
                headers.append("Set-Cookie", cookie)
        await send(message)

    return send_with_headers
