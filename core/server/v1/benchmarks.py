"""Serve benchmarks, with their table, CSV and contact sheet, and studies of why two images differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from core.benchmark import plan, results_table
from core.benchmark.report import cancel, report
from core.server.error_responses import Answer
from core.server.submission import SOURCE, check_model, check_size, check_total, client_of
from core.studio import Studio
from core.studio.why import MOST_RENDERS, SMALL
from core.types import SubmitOptions, WhyReport

Refusals = Callable[..., dict[int | str, dict[str, Any]]]
NO_STORE = {"Cache-Control": "no-store"}  # votes come, and images go


class ColumnOrder(BaseModel):
    """A model and its values, by key or alias, over a profile of configs/profiles."""

    model_config = ConfigDict(extra="forbid")
    model: Annotated[str, Field(strict=True, max_length=500)]
    profile: Annotated[str, Field(strict=True, max_length=100)] = ""
    options: dict[str, Any] = {}


class BenchmarkBody(BaseModel):
    """The body of a new benchmark."""

    model_config = ConfigDict(extra="forbid")
    columns: list[ColumnOrder]
    prompts: list[Annotated[str, Field(strict=True)]]
    seeds: list[Annotated[int, Field(strict=True)]]


def benchmark_routes(get_studio: Callable[[], Studio], refusals: Refusals) -> APIRouter:
    """Return the routes; `refusals` documents the error responses."""
    # The address has the word of version 0.1, which clients use.
    router = APIRouter(prefix="/comparisons", tags=["comparisons"], responses=refusals(404, 422))

    def described(benchmark_id: str, status: int = 200) -> Response:
        studio = get_studio()
        found = report(studio, studio.benchmarks.get(benchmark_id))
        where = {"Location": f"/api/v1/comparisons/{benchmark_id}"} if status == 202 else None
        return Answer(results_table.as_json(found, studio.benchmarks.votes(benchmark_id)), status, headers=where)

    @router.post("", status_code=202, responses=refusals(404, 422, 429))
    def add(request: Request, body: BenchmarkBody) -> Any:
        """Queue a benchmark: every column generates every prompt with every seed. Each column is one job."""
        studio = get_studio()
        for column in body.columns:
            check_model(studio, column.model)
        settings = studio.settings
        limits = plan.Limits(
            images=min(plan.MOST_IMAGES, settings.service.max_batch),
            jobs=settings.service.queue_per_client,
            check=lambda one: check_size(one, settings),
        )
        specs = [plan.ColumnSpec(column.model, column.profile, column.options) for column in body.columns]
        seeds = plan.read_seeds(" ".join(map(str, body.seeds)), SOURCE)
        terms = SubmitOptions(client=client_of(request))
        benchmark = plan.start(studio, specs, body.prompts, seeds, terms, SOURCE, limits)
        return described(benchmark.id, 202)

    @router.get("")
    def latest(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Any:
        """List the latest benchmarks, newest first."""
        return Answer({
            "comparisons": [
                {
                    "id": one.id,
                    "created_at": one.created_at.isoformat(),
                    "columns": [column.name for column in one.columns],
                    "prompts": list(one.prompts),
                    "seeds": list(one.seeds),
                }
                for one in get_studio().benchmarks.recent(limit)
            ]
        })  # fmt: skip

    @router.get("/{benchmark_id}")
    def look(benchmark_id: str) -> Any:
        """Return a benchmark with its table and its images by index; seconds, bytes, shares from 0 to 1."""
        return described(benchmark_id)

    @router.delete("/{benchmark_id}")
    def stop(benchmark_id: str) -> Any:
        """Cancel what is not generated yet; finished images stay."""
        studio = get_studio()
        cancel(studio, studio.benchmarks.get(benchmark_id))
        return described(benchmark_id)

    @router.get(
        "/{benchmark_id}/table",
        response_class=Response,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    )
    def table(benchmark_id: str) -> Response:
        """Return the table as CSV, one line per column."""
        studio = get_studio()
        found = report(studio, studio.benchmarks.get(benchmark_id))
        data = results_table.csv(found, studio.benchmarks.votes(benchmark_id))
        return Response(data, media_type="text/csv; charset=utf-8", headers=_named(benchmark_id, "csv"))

    @router.get(
        "/{benchmark_id}/sheet",
        response_class=Response,
        responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    def image(benchmark_id: str) -> Response:
        """Return all images as one labelled grid."""
        studio = get_studio()
        data = results_table.draw(studio, report(studio, studio.benchmarks.get(benchmark_id)))
        return Response(data, media_type="image/png", headers=_named(benchmark_id, "png"))

    return router


def _named(benchmark_id: str, kind: str) -> dict[str, str]:
    """Return headers that name the file; the id is one that a benchmark has, so it needs no quoting."""
    return {**NO_STORE, "Content-Disposition": f'attachment; filename="comparison-{benchmark_id}.{kind}"'}


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
