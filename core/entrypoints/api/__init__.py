"""The studio over HTTP, beside the pages: /api is its own dialect, /v1 is OpenAI's, /sdapi/v1 is A1111's.

All three put jobs into the same queue, under the same limits, and give each caller the pictures of its own jobs.
What this package does not know: Streamlit, how a studio is built, where files are (the studio says, by id).
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Mount

from core.entrypoints.api.a1111 import create_a1111
from core.entrypoints.api.native import create_api
from core.entrypoints.api.openai import create_openai
from core.studio import Studio

__all__ = ["create_api", "service_routes"]


def service_routes(get_studio: Callable[[], Studio]) -> list[Mount]:
    """What to mount. `get_studio` is called at each request, so that importing and mounting builds nothing."""
    return [
        Mount("/api", app=create_api(get_studio)),
        Mount("/v1", app=create_openai(get_studio)),
        Mount("/sdapi/v1", app=create_a1111(get_studio)),
    ]
