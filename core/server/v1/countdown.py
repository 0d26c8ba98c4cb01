"""Serve the countdown to sleep or shutdown after the queue became empty: read it and stop it, never start it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from core.server.error_responses import Answer
from core.studio import Studio


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
