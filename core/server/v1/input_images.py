"""Store input images and serve them by digest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from core.server.error_responses import Answer
from core.server.v1.files import FOREVER, TYPES
from core.studio import Studio

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"requestBody": {"required": True, "content": dict.fromkeys(TYPES.values(), _BINARY)}}


def input_routes(get_studio: Callable[[], Studio], refusals: dict[int | str, dict[str, Any]]) -> APIRouter:
    """Return the routes; `refusals` documents the error responses."""
    router = APIRouter(tags=["images"], responses=refusals)

    @router.post("/inputs", status_code=201, openapi_extra=_BODY)
    async def keep(request: Request, mask: bool = False) -> Any:
        """Store an image (PNG, JPEG, WebP) that others can be made from; the same one is kept once.

        With `mask` it is read as a mask: of strokes on a transparent layer their opacity is taken, whatever their color.
        """
        data = await request.body()
        studio = await anyio.to_thread.run_sync(get_studio)
        store = studio.input_images.keep_mask if mask else studio.input_images.keep
        digest = await anyio.to_thread.run_sync(store, data, "body")
        width, height = await anyio.to_thread.run_sync(studio.input_images.size, digest)
        address = f"/api/v1/inputs/{digest}"
        content = {"digest": digest, "width": width, "height": height, "url": address}
        return Answer(content, 201, headers={"Location": address})

    @router.get("/inputs/{digest}", response_class=Response, responses={200: {"content": {"image/png": _BINARY}}})
    def image(digest: str) -> Response:
        """Return an input image as PNG."""
        return FileResponse(get_studio().input_images.file(digest), media_type="image/png", headers=FOREVER)

    return router
