"""Let pages of named origins call the service from a browser: the answers that CORS asks for.

Cookies are never allowed along: a page of another origin shows its own key, or none where the studio asks for none.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Send

from core.server.auth.bind_address import Binding

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
SECONDS = 600  # a browser asks again after this time
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
    answer.headers["Access-Control-Allow-Methods"] = METHODS
    answer.headers["Access-Control-Allow-Headers"] = asked if _NAMES.fullmatch(asked) and asked else "Content-Type"
    answer.headers["Access-Control-Max-Age"] = str(SECONDS)
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
