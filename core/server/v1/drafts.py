"""Live drafts over HTTP: the small image of a request, drawn at once and never stored.

POST /api/v1/drafts {"prompt": "a red house", "seed": 7}  ->  200 image/webp; 204 when a later draft of the caller took its place
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from core.jobs.draft_commands import WAITING
from core.server.submission import client_of, requested
from core.studio import Studio
from core.types import InputSources

LOOK_SECONDS = 0.01
WAIT_SECONDS = 120.0  # the model may have to be loaded first

Read = Callable[[Studio, dict[str, Any]], tuple[Mapping[str, Any], Sequence[Any] | None, InputSources | None]]


def draft_routes(
    get_studio: Callable[[], Studio], refusals: Callable[..., dict[int | str, dict[str, Any]]], read: Read,
    schema: Mapping[str, Any],
) -> APIRouter:  # fmt: skip
    """Return the route; `read` reads a body as that of /jobs is read, and `schema` documents it."""
    router = APIRouter(tags=["jobs"])

    def ask(studio: Studio, body: dict[str, Any], client: str) -> str:
        values, prompts, sources = read(studio, body)
        return studio.drafts.ask(requested(studio, values, prompts, sources), client)

    @router.post(
        "/drafts", response_class=Response, openapi_extra={"requestBody": schema},
        responses={**refusals(409, 422), 200: {"content": {"image/webp": {}}}, 204: {"description": "replaced by a later one"}},
    )  # fmt: skip
    async def draft(request: Request, body: Annotated[dict[str, Any], Body()]) -> Response:
        """Return a small image of few steps of the same request as /jobs takes, with its seed. It is in no history and no queue.

        A later draft of the same caller takes its place: this call is answered with 204. While a job runs the draft waits.
        """
        studio, client = await anyio.to_thread.run_sync(get_studio), client_of(request)
        draft_id = await anyio.to_thread.run_sync(ask, studio, body, client)
        with anyio.move_on_after(WAIT_SECONDS):
            while (answer := studio.drafts.answer(draft_id, client)).state == WAITING:
                if await request.is_disconnected():
                    break
                await anyio.sleep(LOOK_SECONDS)
        if answer.state == WAITING:
            studio.drafts.cancel(draft_id, client)
        if answer.error is not None:
            raise answer.error
        if not answer.image:
            return Response(status_code=204)
        return Response(answer.image, media_type="image/webp", headers={"Cache-Control": "no-store"})

    return router
