"""Pictures over HTTP, by id only: a small Starlette app that is mounted beside the pages.

What this module does not know: Streamlit, how a studio is built, where files are (the studio says, by id).
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.entrypoints import exports, listing
from core.errors import InputError, NotFoundError, StudioError
from core.studio import Studio

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}  # a picture's id never means another picture


def create_api(get_studio: Callable[[], Studio]) -> Starlette:
    """The routes. `get_studio` is called at each request, so that importing and mounting builds nothing."""

    def image(request: Request) -> Response:
        image_id = request.path_params["image_id"]
        record = get_studio().image(image_id)
        path = get_studio().image_file(image_id)
        disposition = "attachment" if request.query_params.get("download") == "1" else "inline"
        return FileResponse(
            path,
            media_type=TYPES.get(record.format, "application/octet-stream"),
            filename=path.name,
            content_disposition_type=disposition,
            headers=FOREVER,
        )

    def thumbnail(request: Request) -> Response:
        path = get_studio().thumbnail(request.path_params["image_id"])
        return FileResponse(path, media_type="image/webp", headers=FOREVER)

    def preview(request: Request) -> Response:
        picture = get_studio().preview(request.path_params["job_id"])
        if picture is None:
            return _problem("there is no preview of this job", 404)
        return Response(picture, media_type="image/webp", headers={"Cache-Control": "no-store"})

    def difference(request: Request) -> Response:
        one, other = request.path_params["one"], request.path_params["other"]
        return Response(get_studio().difference_map(one, other), media_type="image/png", headers=FOREVER)

    def sheet(request: Request) -> Response:
        path = get_studio().sheet_file(request.path_params["sheet_id"])
        return FileResponse(path, media_type="image/png", filename=path.name, headers=FOREVER)

    def listing_of(request: Request) -> Response:
        return listing.answer(get_studio(), request)

    def table(request: Request) -> Response:
        return exports.answer(get_studio(), request)

    return Starlette(
        routes=[
            Route("/history", listing_of),
            Route("/sheets/{sheet_id}", sheet),
            Route("/differences/{one}/{other}", difference),
            Route("/exports/{kind}", table),
            Route("/images/{image_id}", image),
            Route("/thumbnails/{image_id}", thumbnail),
            Route("/jobs/{job_id}/preview", preview),
        ],
        middleware=[Middleware(LoopbackOnly)],
        exception_handlers={StudioError: _refused, FileNotFoundError: _refused, 404: _refused, 405: _refused},
    )


class LoopbackOnly:
    """Refuse a foreign Host header: a page elsewhere that points its own name at 127.0.0.1 must not read pictures.

    No Access-Control header is ever sent, so scripts of other origins can't read an answer either.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif _host_name(Headers(scope=scope).get("host", "")) not in LOOPBACK:
            await _problem("this address serves its own machine only", 403)(scope, receive, _without_sniffing(send))
        else:
            await self.app(scope, receive, _without_sniffing(send))


def _host_name(host: str) -> str:
    """The name of "name:port", where an IPv6 name has brackets and colons of its own."""
    end = host.rfind(":")
    return (host[:end] if end > host.rfind("]") else host).lower()


def _without_sniffing(send: Send) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"x-content-type-options", b"nosniff")]}
        await send(message)

    return send_with_header


def _refused(_request: Request, error: Exception) -> Response:
    """One line of JSON: 400 for what can't be asked, 404 for what is not there, 500 for what could not be read or written."""
    if isinstance(error, StudioError):
        status = 404 if isinstance(error, NotFoundError) else 400 if isinstance(error, InputError) else 500
        return _problem(error.message("en"), status)
    return _problem("there is nothing at this address", 404)


def _problem(words: str, status: int) -> Response:
    return JSONResponse({"error": words}, status_code=status)
