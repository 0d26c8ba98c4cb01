"""Enhance and translate prompts with the text encoder of a model.

POST /api/v1/prompts {"task": "enhance", "prompt": "a red house"}  ->  202 {"id": ...}, then GET, and DELETE stops it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from core.server.error_responses import Answer, described
from core.studio import Studio


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
