"""Serve hidden collections: unlock with a password, lock again after access.unlock_minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from core.server.error_responses import Answer
from core.studio import Studio

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
