"""Serve prompts written by a model, and live drafts: both are answered at once and stored nowhere.

POST /api/v1/drafts {"prompt": "a red house", "seed": 7}  ->  200 image/webp; 204 when a later draft of the caller took its place
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from core.jobs.worker_commands import WAITING
from core.server.error_responses import Answer, described
from core.server.submission import client_of, requested
from core.studio import Studio
from core.types import InputSources


class PromptTask(BaseModel):
    """What is to be written. `model`: the settings' own unless given."""

    model_config = ConfigDict(extra="forbid")

    task: Literal["enhance", "translate"]
    prompt: Annotated[str, Field(min_length=1, max_length=20_000)]
    model: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0


def prompt_routes(get_studio: Callable[[], Studio], refusals: dict[int | str, dict[str, Any]]) -> APIRouter:
    """Return the routes; `refusals` documents the error responses."""
    router = APIRouter(tags=["prompts"], responses=refusals)

    def answer_json(answer_id: str, status: int = 200) -> Any:
        found = get_studio().prompt_help.answer(answer_id)
        error = described(found.error) if found.error else None
        content = {"id": answer_id, "text": found.text, "done": found.done, "error": error}
        return Answer(content, status, headers={"Location": f"/api/v1/prompts/{answer_id}"} if status == 202 else None)

    @router.post("/prompts", status_code=202)
    def ask(body: PromptTask) -> Any:
        """Have a prompt enhanced or translated by the model's text encoder; a later call takes its place.

        `models` of /api/v1/capabilities tells in `prompt_problem` which models can't.
        """
        studio = get_studio()
        values = {**studio.settings.values, **({"model.id": body.model} if body.model else {})}
        return answer_json(studio.prompt_help.ask(body.task, body.prompt, values, body.seed), 202)

    @router.get("/prompts/{answer_id}")
    def answer(answer_id: str) -> Any:
        """Return what there is of the new prompt; `done` when that is all."""
        return answer_json(answer_id)

    @router.delete("/prompts/{answer_id}")
    def cancel(answer_id: str) -> Any:
        """Stop writing; what there is stays."""
        get_studio().prompt_help.cancel(answer_id)
        return answer_json(answer_id)

    return router


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
