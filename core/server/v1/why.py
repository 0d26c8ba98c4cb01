"""Serve studies of why two images differ: plan, start, watch and cancel one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from core.server.error_responses import Answer
from core.server.submission import check_total, client_of
from core.studio import Studio
from core.studio.why import MOST_RENDERS, SMALL
from core.types import SubmitOptions, WhyReport


class WhyOrder(BaseModel):
    """Two images of the history, the size of the images between them, and how many may be generated."""

    model_config = ConfigDict(extra="forbid")
    one: Annotated[str, Field(max_length=64)]
    other: Annotated[str, Field(max_length=64)]
    size: Annotated[int, Field(strict=True, description="longer side in pixels; 0: as large as the images")] = SMALL
    renders: Annotated[int, Field(strict=True)] = MOST_RENDERS
    plan_only: Annotated[bool, Field(strict=True)] = False


def why_routes(get_studio: Callable[[], Studio], refusals: Callable[..., dict[int | str, dict[str, Any]]]) -> APIRouter:
    """Return the routes of studies."""
    router = APIRouter(prefix="/why", tags=["images"])

    @router.post("", status_code=202, responses=refusals(404, 422, 429))
    def start(request: Request, order: WhyOrder) -> Response:
        """Generate from one image to another, a change at a time. With plan_only: what it would generate, status 200."""
        studio = get_studio()
        if order.plan_only:
            plan = studio.why.plan(order.one, order.other, order.size, order.renders)
            return Answer({**asdict(plan), "renders": plan.renders})
        check_total(studio)
        terms = SubmitOptions(client=client_of(request))
        study = studio.why.start(order.one, order.other, order.size, order.renders, terms)
        answer = report_json(studio.why.report(study.id))
        return Answer(answer, 202, headers={"Location": f"/api/v1/why/{study.id}"})

    @router.get("/{study_id}", responses=refusals(404))
    def look(study_id: str) -> Any:
        """Return the progress and the distances; `rank` 1 is the change that moved the image most."""
        return Answer(report_json(get_studio().why.report(study_id)))

    @router.delete("/{study_id}", responses=refusals(404))
    def cancel(study_id: str) -> Any:
        """Cancel what is not generated yet."""
        return Answer(report_json(get_studio().why.cancel(study_id)))

    return router


def report_json(report: WhyReport) -> dict[str, Any]:
    """Return a report as JSON."""
    plan = report.study.plan
    return {
        "id": report.study.id, "one": plan.one, "other": plan.other, "size": plan.size, "renders": plan.renders,
        "done": report.done, "active": report.active, "failed": report.failed, "first_image": report.first_image,
        "steps": [asdict(step) for step in report.steps], "fixed": plan.fixed,
    }  # fmt: skip
