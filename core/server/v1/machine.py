"""Serve the state of the machine: its GPU, which other programs may ask back, the use of a day, and the countdown to sleep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from core.server.error_responses import Answer
from core.studio import Studio
from core.types import USER_CLIENT


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


def usage_routes(
    get_studio: Callable[[], Studio], refusals: Callable[..., dict[int | str, dict[str, Any]]]
) -> APIRouter:
    """Return the routes of users' use."""
    router = APIRouter(tags=["users"])

    @router.get("/usage", responses=refusals())
    def own() -> Any:
        """What the caller has generated, and the quota; 0 = no limit."""
        usage = get_studio().usage
        return Answer({"usage": asdict(usage.own()), "quota": None if usage.viewer.admin else asdict(usage.quota)})

    @router.get("/users", responses=refusals(403))
    def users() -> Any:
        """For admins: how many images each user has, their size, and the use of the last hour; never the images."""
        found = get_studio().usage.all()
        return Answer({"users": {unquote(name.removeprefix(USER_CLIENT)): asdict(use) for name, use in found.items()}})

    return router


def countdown_routes(
    get_studio: Callable[[], Studio], refusals: Callable[..., dict[int | str, dict[str, Any]]]
) -> APIRouter:
    """Return the routes of the countdown."""
    router = APIRouter(prefix="/countdown", tags=["queue"])

    def answer() -> Response:
        action, seconds = get_studio().queue_end.countdown.left() or (None, None)
        return Answer({"action": action, "seconds": seconds}, headers={"Cache-Control": "no-store"})

    @router.get("", responses=refusals())
    def look() -> Any:
        """What the machine will do and in how many seconds; null when nothing counts down."""
        return answer()

    @router.delete("", responses=refusals())
    def stop() -> Any:
        """Stop the countdown."""
        get_studio().queue_end.countdown.stop()
        return answer()

    return router
