"""Comparisons over HTTP: the list, one with its table and pictures, its CSV and its labelled picture.

What this module does not know: how they are measured, jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from core.comparison import sheet
from core.comparison.report import cancel, report
from core.entrypoints import measured
from core.entrypoints.api.answers import Answer
from core.studio import Studio

NO_STORE = {"Cache-Control": "no-store"}  # votes come, and pictures go


def comparison_routes(get_studio: Callable[[], Studio], refusals: dict[int | str, dict[str, Any]]) -> APIRouter:
    """The routes; `refusals` documents what may be answered instead."""
    router = APIRouter(prefix="/comparisons", tags=["comparisons"], responses=refusals)

    def described(comparison_id: str) -> Response:
        studio = get_studio()
        found = report(studio, studio.comparison(comparison_id))
        return Answer(measured.as_json(found, studio.votes(comparison_id)))

    @router.get("")
    def latest(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Any:
        """The latest comparisons, newest first: what each of them compares."""
        return Answer({
            "comparisons": [
                {
                    "id": one.id,
                    "created_at": one.created_at.isoformat(),
                    "columns": [column.name for column in one.columns],
                    "prompts": list(one.prompts),
                    "seeds": list(one.seeds),
                }
                for one in get_studio().comparisons(limit)
            ]
        })  # fmt: skip

    @router.get("/{comparison_id}")
    def look(comparison_id: str) -> Any:
        """The table, a column each, with the pictures by place; seconds, bytes, shares from 0 to 1."""
        return described(comparison_id)

    @router.delete("/{comparison_id}")
    def stop(comparison_id: str) -> Any:
        """Cancel what is not drawn yet; what is drawn stays."""
        studio = get_studio()
        cancel(studio, studio.comparison(comparison_id))
        return described(comparison_id)

    @router.get(
        "/{comparison_id}/table",
        response_class=Response,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    )
    def table(comparison_id: str) -> Response:
        """The table as CSV, a line a column."""
        studio = get_studio()
        found = report(studio, studio.comparison(comparison_id))
        data = measured.csv(found, studio.votes(comparison_id))
        return Response(data, media_type="text/csv; charset=utf-8", headers=_named(comparison_id, "csv"))

    @router.get(
        "/{comparison_id}/sheet",
        response_class=Response,
        responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    def picture(comparison_id: str) -> Response:
        """All pictures as one, with their labels."""
        studio = get_studio()
        data = sheet.draw(studio, report(studio, studio.comparison(comparison_id)))
        return Response(data, media_type="image/png", headers=_named(comparison_id, "png"))

    return router


def _named(comparison_id: str, kind: str) -> dict[str, str]:
    """The id is one that a comparison has, so it is plain."""
    return {**NO_STORE, "Content-Disposition": f'attachment; filename="comparison-{comparison_id}.{kind}"'}
