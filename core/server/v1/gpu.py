"""Serve the GPU's state, and give it back now for programs that need it, such as a language model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from core.server.error_responses import Answer
from core.studio import Studio


class GpuChange(BaseModel):
    """Whether the workers leave the GPU alone."""

    model_config = ConfigDict(extra="forbid")
    given_back: Annotated[bool, Field(strict=True)]


def gpu_routes(get_studio: Callable[[], Studio], refusals: Callable[..., dict[int | str, dict[str, Any]]]) -> APIRouter:
    """Return the routes of the GPU."""
    router = APIRouter(prefix="/gpu", tags=["queue"])

    def answer() -> Response:
        studio = get_studio()
        status = studio.worker.status()
        return Answer({
            "given_back": studio.queue.is_given_back(),
            "worker": status.state,
            "model": status.model,
            "memory_bytes": status.memory_bytes,
            "yields_to": status.yields_to,
            "unmeasured": status.unmeasured,
        })  # fmt: skip

    @router.get("", responses=refusals())
    def look() -> Any:
        """What the worker does; by language, why it leaves the GPU alone (yields_to), which limits can't be read (unmeasured)."""
        return answer()

    @router.patch("", responses=refusals(403))
    def change(body: GpuChange) -> Any:
        """Give the GPU back: the running job pauses after its present step, and the model leaves the memory; or use it again."""
        get_studio().queue.give_back(body.given_back)
        return answer()

    return router
