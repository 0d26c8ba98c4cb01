"""Serve image files by id only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from core.errors import NotFoundError
from core.server.error_responses import Answer
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
