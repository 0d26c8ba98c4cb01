"""Serve usage: the caller's own use and quota, and for admins the counts of every user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter

from core.server.error_responses import Answer
from core.studio import Studio
from core.types import USER_CLIENT


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
