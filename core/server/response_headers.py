"""Set the headers of every answer: what browsers may do with it, the cookie by which a browser finds its jobs, CORS.

CORS lets pages of named origins call the service from a browser. Cookies are never allowed along: a page of another origin shows
its own key, or none where the studio asks for none.
"""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Scope, Send

from core.server.auth.bind_address import Binding
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


CORS_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
CORS_SECONDS = 600  # a browser asks again after this time
_EXPOSED = "Location, Retry-After, X-Model"
_NAMES = re.compile(r"[\w\-, ]{0,1000}")


def allowed_origin(headers: Headers, binding: Binding) -> str:
    """Return the origin of the calling page when the configuration names it, else ""."""
    origin = headers.get("origin", "").lower().rstrip("/")
    if not origin or origin == f"http://{headers.get('host', '').lower()}":
        return ""
    return origin if origin in binding.cors_origins or (binding.any_origin and origin != "null") else ""


def is_preflight(method: str, headers: Headers) -> bool:
    """Return True for the question that a browser asks before a call."""
    return method == "OPTIONS" and "access-control-request-method" in headers


def preflight(headers: Headers) -> Response:
    """Answer it; `with_origin` adds the origin."""
    asked = headers.get("access-control-request-headers", "")
    answer = Response(status_code=204)
    answer.headers["Access-Control-Allow-Methods"] = CORS_METHODS
    answer.headers["Access-Control-Allow-Headers"] = asked if _NAMES.fullmatch(asked) and asked else "Content-Type"
    answer.headers["Access-Control-Max-Age"] = str(CORS_SECONDS)
    if headers.get("access-control-request-private-network") == "true":
        answer.headers["Access-Control-Allow-Private-Network"] = "true"
    return answer


def with_origin(send: Send, headers: Headers) -> Send:
    """Return a `send` whose answers the calling page may read."""
    origin = headers["origin"]

    async def send_with_origin(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer = MutableHeaders(scope=message)
            answer["Access-Control-Allow-Origin"] = origin
            answer["Access-Control-Expose-Headers"] = _EXPOSED
            answer["Cross-Origin-Resource-Policy"] = "cross-origin"
            answer.add_vary_header("Origin")
        await send(message)

    return send_with_origin
