"""The studio over HTTP, beside the pages: /api is its own dialect, /v1 is OpenAI's, /sdapi/v1 is A1111's.

All three put jobs into the same queue, under the same limits, and give each caller the pictures of its own jobs.
What this package does not know: Streamlit, how a studio is built, where files are (the studio says, by id).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from starlette.middleware import Middleware
from starlette.routing import Mount

from core.entrypoints.access.binding import Binding, read_binding
from core.entrypoints.access.keys import Keys
from core.entrypoints.api import a1111, answers, openai
from core.entrypoints.api.a1111 import create_a1111
from core.entrypoints.api.docs import docs_routes, documents_of
from core.entrypoints.api.gate import Gate
from core.entrypoints.api.login import LOGOUT
from core.entrypoints.api.native import create_api
from core.entrypoints.api.openai import create_openai
from core.entrypoints.api.orders import BROWSER_COOKIE, USER_HEADER
from core.entrypoints.api.unknown_paths import UnknownPaths
from core.studio import Studio

__all__ = [
    "BROWSER_COOKIE",
    "LOGOUT",
    "USER_HEADER",
    "Binding",
    "Keys",
    "create_api",
    "gate",
    "read_binding",
    "service_routes",
    "unknown_paths",
]


def gate(keys: Keys, binding: Binding) -> Middleware:
    """What goes around pages and service alike; each dialect says in its own way who is not let in."""
    dialects = {"/api": answers.problem, "/v1": openai.problem, "/sdapi": a1111.problem}
    return Middleware(Gate, keys=keys, binding=binding, dialects=dialects, otherwise=answers.problem)


def unknown_paths(pages: Collection[str]) -> Middleware:
    """Return what answers programs with 404 as JSON on paths that are neither served nor a page."""
    return Middleware(UnknownPaths, pages=pages)


def service_routes(get_studio: Callable[[], Studio]) -> list[Mount]:
    """What to mount. `get_studio` is called at each request, so that importing and mounting builds nothing."""
    apps = {"/api": create_api(get_studio), "/v1": create_openai(get_studio), "/sdapi/v1": create_a1111(get_studio)}
    apps["/api"].include_router(docs_routes(documents_of(apps)))
    return [Mount(path, app=app) for path, app in apps.items()]
