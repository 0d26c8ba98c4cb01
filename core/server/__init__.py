"""Serve the studio over HTTP beside the pages: /api is our own API, /v1 OpenAI's, /sdapi/v1 A1111's.

All three put jobs into the same queue, under the same limits, and give each caller the images of its own jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from starlette.middleware import Middleware
from starlette.routing import Mount, Route

from core.server import a1111, error_responses
from core.server.a1111 import create_a1111
from core.server.a1111_control import create_controlnet
from core.server.auth.authenticator import Keys
from core.server.auth.bind_address import Binding, keep_private, read_binding
from core.server.auth_middleware import Gate
from core.server.docs import docs_routes, documents_of
from core.server.health import Health, Viewers, metrics_route, page_client, viewed, viewer_of
from core.server.html_pages import LOGOUT, UnknownPaths
from core.server.openai import routes as openai
from core.server.openai.routes import create_openai
from core.server.submission import BROWSER_COOKIE, ROLE_HEADER, USER_HEADER
from core.server.v1.routes import create_api
from core.studio import Studio

__all__ = [
    "BROWSER_COOKIE",
    "LOGOUT",
    "ROLE_HEADER",
    "USER_HEADER",
    "Binding",
    "Keys",
    "create_api",
    "gate",
    "health",
    "keep_private",
    "page_client",
    "read_binding",
    "service_routes",
    "unknown_paths",
    "viewed",
    "viewer_of",
]


def gate(keys: Keys, binding: Binding) -> Middleware:
    """Return the middleware around pages and APIs; each API refuses callers in its own format."""
    dialects = {
        "/api": error_responses.problem,
        "/v1": openai.problem,
        "/sdapi": a1111.problem,
        "/controlnet": a1111.problem,
    }
    return Middleware(Gate, keys=keys, binding=binding, dialects=dialects, otherwise=error_responses.problem)


def unknown_paths(pages: Collection[str]) -> Middleware:
    """Return what answers programs with 404 as JSON on paths that are neither served nor a page."""
    return Middleware(UnknownPaths, pages=pages)


def health(get_studio: Callable[[], Studio | None], keys: Keys) -> Middleware:
    """Return what answers /_stcore/health; reasons are in the answer where no authentication is required."""
    return Middleware(Health, get_studio=get_studio, in_detail=lambda: not keys.guarded)


def service_routes(get_studio: Callable[[], Studio]) -> list[Mount | Route]:
    """Return the routes to mount. `get_studio` is called at each request, so mounting builds nothing."""
    own = viewed(get_studio)
    apps = {
        "/api": create_api(own),
        "/v1": create_openai(own),
        "/sdapi/v1": create_a1111(own),
        "/controlnet": create_controlnet(own, a1111.problem),
    }
    apps["/api"].include_router(docs_routes(documents_of(apps)))
    return [metrics_route(get_studio), *(Mount(path, app=Viewers(app)) for path, app in apps.items())]
