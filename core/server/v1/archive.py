"""Serve what the history page reads by address: the list behind its grid, contact sheets, difference maps and exports.

Made for our own pages, so it is not part of the documented service.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from core.server import listing
from core.server.v1 import exports
from core.server.v1.files import FOREVER, NEVER
from core.studio import Studio


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
