"""Serve image files by id only, input images and collections, and what the history page reads by address.

The list behind the page's grid, contact sheets, difference maps and exports are made for our own pages, so they are not part of the
documented service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response

from core.errors import NotFoundError
from core.server import listing
from core.server.error_responses import Answer
from core.server.v1 import exports
from core.server.v1.schemas import record_json
from core.studio import Studio

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}  # an image's id never means another image


NEVER = {"Cache-Control": "no-store"}


def file_routes(get_studio: Callable[[], Studio], refusals: dict[int | str, dict[str, Any]]) -> APIRouter:
    """Return the routes of images, thumbnails and previews; `refusals` documents the error responses."""
    router = APIRouter(tags=["images"], responses=refusals)

    def images(*types: str) -> dict[int | str, dict[str, Any]]:
        binary = {"schema": {"type": "string", "format": "binary"}}
        return {200: {"content": dict.fromkeys(types, binary), "description": "The image"}}

    def _kept(image_id: str) -> dict[str, str]:
        """Return how long a browser may keep an image: not at all where it is in a hidden collection."""
        return FOREVER if get_studio().history.may_be_cached(image_id) else NEVER

    @router.get("/images/{image_id}", response_class=Response, responses=images(*TYPES.values()))
    def image(image_id: str, download: bool = False) -> Response:
        """Return the file of an image, with its metadata."""
        record = get_studio().history.get(image_id)
        path = get_studio().history.file(image_id)
        return FileResponse(
            path,
            media_type=TYPES.get(record.format, "application/octet-stream"),
            filename=path.name,
            content_disposition_type="attachment" if download else "inline",
            headers=_kept(image_id),
        )

    @router.get("/images/{image_id}/record")
    def record(image_id: str) -> Any:
        """Return how an image was made: the request, the used values with reasons, times in seconds."""
        return Answer(record_json(get_studio().history.get(image_id)))

    @router.get("/thumbnails/{image_id}", response_class=Response, responses=images("image/webp"))
    def thumbnail(image_id: str) -> Response:
        """Return a WebP of at most 256 pixels a side."""
        # read here: a FileResponse changes threads four times, and a gallery asks for a hundred at once
        return Response(get_studio().history.thumbnail(image_id).read_bytes(), media_type="image/webp", headers=_kept(image_id))

    @router.get("/loras/{name}/preview", response_class=Response, responses=images("image/webp"))
    def lora(name: str) -> Response:
        """Return the image beside a LoRA's file, decoded and encoded anew, or the newest that was made with it."""
        headers = {"Cache-Control": "private, max-age=60"}
        return Response(get_studio().models.lora_preview(name), media_type="image/webp", headers=headers)

    @router.get("/jobs/{job_id}/preview", response_class=Response, responses=images("image/webp"))
    def preview(job_id: str) -> Response:
        """Return the live preview of a running job, a small WebP."""
        image = get_studio().queue.preview(job_id)
        if image is None:
            raise NotFoundError(kind="preview of a job", value=job_id)
        return Response(image, media_type="image/webp", headers={"Cache-Control": "no-store"})

    return router


def archive_routes(get_studio: Callable[[], Studio]) -> APIRouter:
    """Return the routes of archives, in addition to those of `files`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/differences/{one}/{other}")
    def difference(one: str, other: str) -> Response:
        studio = get_studio()
        kept = all(studio.history.may_be_cached(image_id) for image_id in (one, other))
        return Response(studio.images.difference_map(one, other), media_type="image/png", headers=FOREVER if kept else NEVER)

    @router.get("/sheets/{sheet_id}")
    def sheet(sheet_id: str) -> Response:
        studio = get_studio()
        path = studio.sweeps.file(sheet_id)
        kept = FOREVER if not studio.collections.scope().hidden else NEVER  # an image of it may be hidden later
        return FileResponse(path, media_type="image/png", filename=path.name, headers=kept)

    @router.get("/history")
    def listing_of(request: Request) -> Response:
        return listing.answer(get_studio(), request)

    @router.get("/exports/{kind}")
    def table(request: Request) -> Response:
        return exports.answer(get_studio(), request)

    return router


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


Refusals = Callable[..., dict[int | str, dict[str, Any]]]


class Secret(BaseModel):
    """A collection and its password."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=200)]
    password: Annotated[str, Field(max_length=200)]


def collection_routes(get_studio: Callable[[], Studio], refusals: Refusals) -> APIRouter:
    """Return the routes of collections. Browsers and programs are identified as in the queue: user, cookie, X-Client-Id."""
    router = APIRouter(prefix="/collections", tags=["collections"])

    def answer(status: int = 200) -> Response:
        studio = get_studio()
        body = {
            "collections": studio.history.counts().collections,
            "unlocked": {name: round(seconds) for name, seconds in studio.collections.unlocked().items()},
            "any_locked": studio.collections.any_locked(),
        }
        return Answer(body, status, headers={"Cache-Control": "no-store"})

    @router.get("", responses=refusals())
    def collections() -> Any:
        """Collections with their number of images, without locked ones; seconds until each unlocked one is locked again."""
        return answer()

    @router.post("/hide", responses=refusals(422))
    def hide(secret: Secret) -> Any:
        """Hide a collection behind a password; it is locked at once. This is hiding, not encryption."""
        get_studio().collections.hide(secret.name, secret.password)
        return answer()

    @router.post("/unlock", responses=refusals(422))
    def unlock(secret: Secret) -> Any:
        """Show a hidden collection to this caller for access.unlock_minutes."""
        get_studio().collections.unlock(secret.name, secret.password)
        return answer()

    @router.post("/lock", responses=refusals())
    def lock() -> Any:
        """Lock all that this caller has unlocked."""
        get_studio().collections.lock()
        response = answer()
        response.headers["Clear-Site-Data"] = '"cache"'
        return response

    @router.post("/show", responses=refusals(422))
    def show(secret: Secret) -> Any:
        """Hide a collection no longer."""
        get_studio().collections.show_again(secret.name, secret.password)
        return answer()

    return router
