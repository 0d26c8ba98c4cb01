"""Serve benchmarks: the list, one with its table and images, its CSV and its contact sheet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from core.benchmark import contact_sheet, plan, results_table
from core.benchmark.report import cancel, report
from core.server.error_responses import Answer
from core.server.submission import SOURCE, check_model, check_size, client_of
from core.studio import Studio
from core.types import SubmitOptions

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
        data = contact_sheet.draw(studio, report(studio, studio.benchmarks.get(benchmark_id)))
        return Response(data, media_type="image/png", headers=_named(benchmark_id, "png"))

    return router


def _named(benchmark_id: str, kind: str) -> dict[str, str]:
    """Return headers that name the file; the id is one that a benchmark has, so it needs no quoting."""
    return {**NO_STORE, "Content-Disposition": f'attachment; filename="comparison-{benchmark_id}.{kind}"'}
