"""Serve jobs at /api/v1/jobs: submission answers at once; progress is polled or streamed.

POST /api/v1/jobs {"prompt": "...", "width": 256}  ->  202, Location: /api/v1/jobs/<id>
POST /api/v1/jobs {"prompts": ["a {red|blue} house", {"prompt": "...", "seed": 7}], "width": 256}  ->  one job
POST /api/v1/estimates with the same body  ->  200 {"seconds": ..., "vram_mb": ..., "fits": ...}, and nothing is queued
GET /api/v1/jobs/<id>, /preview, /events (server-sent), PATCH, DELETE (cancels), POST /retry
GET /api/v1/queue, PATCH {"paused": true}, DELETE (cancels what waits)
POST /api/v1/inputs (the bytes of an image)  ->  201 {"digest": ...}, for "inputs": {"image": <digest>} of a request
POST /api/v1/comparisons {"columns": [{"model": "demo"}, {"model": "sdxl", "options": {"steps": 20}}], "prompts": ["..."],
    "seeds": [7]}  ->  202, each column a job
POST /api/v1/prompts {"task": "enhance", "prompt": "..."}  ->  202, GET and DELETE /api/v1/prompts/<id>
GET /api/v1/comparisons, /api/v1/comparisons/<id>, /table (CSV), /sheet (PNG), DELETE (cancels)
POST /api/v1/collections/hide, /unlock, /show {"name": "...", "password": "..."}, /lock; GET /api/v1/collections
POST /api/v1/drafts {"prompt": "a cat", "seed": 7}  ->  image/webp, small and stored nowhere
GET /api/v1/gpu, PATCH {"given_back": true}
GET /api/v1/countdown (to sleep or shutdown when the queue is empty), DELETE (stops it)
GET /api/v1/usage (of the caller), /api/v1/users (of all, for admins)
POST /api/v1/why {"one": <id>, "other": <id>}  ->  202, GET and DELETE /api/v1/why/<id>
GET /api/v1/images/<id>, /api/v1/thumbnails/<id>, /api/v1/capabilities, /api/openapi.json

"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Body, FastAPI, Header, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.responses import Response, StreamingResponse

from core import __version__
from core.errors import OptionError
from core.server.body_limit import Guard
from core.server.error_responses import Answer, install_errors, problem
from core.server.submission import SOURCE, client_of, digest, requested, submit
from core.server.v1.benchmarks import benchmark_routes, why_routes
from core.server.v1.files import archive_routes, collection_routes, file_routes, input_routes
from core.server.v1.job_events import JobEvents
from core.server.v1.machine import countdown_routes, gpu_routes, usage_routes
from core.server.v1.prompts import draft_routes, prompt_routes
from core.server.v1.schemas import PROMPTS, TERMS, CapabilitiesCache, job_json, order_schema
from core.studio import Studio
from core.types import InputSources, JobState, SubmitOptions

PAGE = 200  # jobs that the queue lists unless more are asked for
GetStudio = Callable[[], Studio]
KEYS = {  # what a guarded studio asks for; an open one takes any
    "bearer": {"type": "http", "scheme": "bearer", "description": "The token, or NAME:PASSWORD of a user."},
    "basic": {"type": "http", "scheme": "basic", "description": "A user, or any name with the token."},
}


class ProblemText(BaseModel):
    """An error message in both languages."""

    code: str
    en: str
    zh: str
    values: dict[str, Any]


class Problem(BaseModel):
    """The body of every error response."""

    error: ProblemText


class JobChange(BaseModel):
    """Changes of a job that has not ended."""

    model_config = ConfigDict(extra="forbid")
    priority: Annotated[int, Field(strict=True, ge=-100, le=100)] | None = None
    position: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    held: Annotated[bool, Field(strict=True)] | None = None
    not_before: AwareDatetime | None = None


class QueueChange(BaseModel):
    """Changes of the whole queue."""

    model_config = ConfigDict(extra="forbid")
    paused: Annotated[bool, Field(strict=True)]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the error responses: 401, 403, 429 of authentication, 400, 413, 415 of bodies, 503 of a database that is away."""
    return {status: {"model": Problem} for status in sorted({400, 401, 403, 413, 415, 429, 503, *statuses})}


def create_api(get_studio: GetStudio) -> FastAPI:
    """Return the app to be mounted at /api. Routes of the pages' images exist without the version, too."""
    app = FastAPI(title="Z Darkroom / 造相暗房", version=__version__, docs_url=None, redoc_url=None)
    files = file_routes(get_studio, refusals(404, 422))
    files.include_router(prompt_routes(get_studio, refusals(422, 507)))
    files.include_router(input_routes(get_studio, refusals(404, 422, 507)))
    v1 = APIRouter(prefix="/v1")
    _add_jobs(v1, get_studio)
    _add_queue(v1, get_studio)
    compared = benchmark_routes(get_studio, refusals)
    v1.include_router(files)
    v1.include_router(compared)
    v1.include_router(collection_routes(get_studio, refusals))
    v1.include_router(draft_routes(get_studio, refusals, _read_body, _order_body()))
    v1.include_router(countdown_routes(get_studio, refusals))
    v1.include_router(gpu_routes(get_studio, refusals))
    v1.include_router(usage_routes(get_studio, refusals))
    v1.include_router(why_routes(get_studio, refusals))
    app.include_router(v1)
    app.include_router(files, include_in_schema=False)
    app.include_router(compared, include_in_schema=False)
    app.include_router(archive_routes(get_studio))
    app.add_middleware(Guard, get_studio=get_studio, say=problem)
    install_errors(app, problem)
    _describe_keys(app)
    return app


def _describe_keys(app: FastAPI) -> None:
    """Put the gate's keys into the document: no route knows of them."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document["components"]["securitySchemes"] = KEYS
        document["security"] = [{name: []} for name in KEYS]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _order_body() -> dict[str, Any]:
    """Document the body of a request for images."""
    return {"required": True, "content": {"application/json": {"schema": order_schema()}}}


def _add_jobs(router: APIRouter, get_studio: GetStudio) -> None:
    open_streams = JobEvents()
    order_body = _order_body()

    @router.post(
        "/jobs",
        status_code=202,
        responses=refusals(409, 422, 429),
        openapi_extra={"requestBody": order_body},
        tags=["jobs"],
    )
    def add(
        request: Request,
        body: Annotated[dict[str, Any], Body()],
        idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    ) -> Response:
        """Queue a request. The same Idempotency-Key with the same body gives the same job, however often it is sent."""
        values, prompts, sources = _read_body(get_studio(), body)
        terms = SubmitOptions(
            client=client_of(request),
            priority=_term(body, "priority", Annotated[int, Field(strict=True, ge=-100, le=100)]) or 0,
            not_before=_term(body, "not_before", AwareDatetime),
            held=_term(body, "held", Annotated[bool, Field(strict=True)]) or False,
            key=idempotency_key,
            key_digest=digest(sorted(body.items(), key=lambda item: item[0])) if idempotency_key else None,
        )
        job = submit(get_studio(), values, terms, prompts, sources)
        return Answer(job_json(job), 202, headers={"Location": f"/api/v1/jobs/{job.id}"})

    @router.post(
        "/estimates", responses=refusals(409, 422), openapi_extra={"requestBody": order_body}, tags=["jobs"]
    )
    def estimate(body: Annotated[dict[str, Any], Body()]) -> Response:
        """Return what a request would cost: seconds, memory and disk in MB, whether it fits, and why. Nothing is queued."""
        studio = get_studio()
        values, prompts, sources = _read_body(studio, body)
        request = studio.requests.prepare(requested(studio, values, prompts, sources))
        return Answer(asdict(studio.estimates.of(request, wait=True)))

    @router.get("/jobs", responses=refusals(422), tags=["jobs"])
    def latest(request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50, mine: bool = False) -> Any:
        """Return the latest jobs, newest first; with `mine` those of this caller only."""
        jobs = get_studio().queue.recent(limit)
        return Answer({"jobs": [job_json(job) for job in jobs if not mine or job.client == client_of(request)]})

    @router.get("/jobs/{job_id}", responses=refusals(404, 422), tags=["jobs"])
    def look(job_id: str) -> Any:
        """State, progress and images."""
        return Answer(job_json(get_studio().queue.get(job_id)))

    @router.delete("/jobs/{job_id}", responses=refusals(404, 422), tags=["jobs"])
    def cancel(job_id: str) -> Any:
        """Cancel a job: a queued one at once, a running one within one step; an ended one stays as it is."""
        return Answer(job_json(get_studio().queue.cancel(job_id)))

    @router.patch("/jobs/{job_id}", responses=refusals(404, 409, 422), tags=["jobs"])
    def change(job_id: str, body: JobChange) -> Any:
        """Pause or resume a job, give it another priority, another position, or a time to wait for (null: none)."""
        queue, job = get_studio().queue, None
        if "not_before" in body.model_fields_set:
            job = queue.postpone(job_id, body.not_before)
        if body.held is not None:
            job = queue.pause_job(job_id, body.held)
        if body.priority is not None:
            job = queue.prioritise(job_id, body.priority)
        if body.position is not None:
            job = queue.move(job_id, body.position)
        return Answer(job_json(job or queue.get(job_id)))

    @router.post("/jobs/{job_id}/retry", status_code=202, responses=refusals(404, 409, 422), tags=["jobs"])
    def retry(job_id: str) -> Any:
        """Queue a failed or cancelled job again; images that it has are not made twice."""
        return Answer(job_json(get_studio().queue.retry(job_id)), 202)

    @router.get(
        "/jobs/{job_id}/events",
        response_class=Response,
        responses={**refusals(404, 422), 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
        tags=["jobs"],
    )
    async def events(job_id: str, request: Request) -> Response:
        """Send the job as a server-sent event at each change; the last event is named `end`."""
        studio = await anyio.to_thread.run_sync(get_studio)
        open_streams.admit(client_of(request))
        await anyio.to_thread.run_sync(studio.queue.get, job_id)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        stream = open_streams.stream(studio, job_id, client_of(request))
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


def _read_body(
    studio: Studio, body: dict[str, Any]
) -> tuple[dict[str, Any], Sequence[Any] | None, InputSources | None]:
    """Return the values, the prompts of a batch and the input images of a request. Raises InputError."""
    values = {key: value for key, value in body.items() if key not in (*TERMS, PROMPTS)}
    if preset := _term(body, "preset", str):
        values = dict(studio.presets.under(preset, values, SOURCE))
    inputs, parent = _term(body, "inputs", dict[str, str]), _term(body, "parent", str)
    sources = InputSources(inputs or {}, parent or "") if inputs or parent else None
    return values, _term(body, PROMPTS, list[Any]), sources


def _add_queue(router: APIRouter, get_studio: GetStudio) -> None:
    cache = CapabilitiesCache()

    def queue_json(request: Request, limit: int = PAGE, after: str = "", mine: bool = False) -> Response:
        studio, client = get_studio(), client_of(request)
        jobs = studio.queue.active(limit, client if mine else None, after or None)
        own = [] if mine or after else studio.queue.active(limit, client)
        totals = studio.queue.totals()
        active = {state: totals.get(state, 0) for state in (JobState.QUEUED, JobState.LOADING, JobState.RUNNING)}
        return Answer({
            "paused": studio.queue.is_paused(),
            "total": sum(active.values()),
            "states": active,
            "own": [job_json(job) for job in own],
            "jobs": [job_json(job) for job in jobs],
            "next": jobs[-1].id if len(jobs) == limit else None,
        })  # fmt: skip

    @router.get("/queue", responses=refusals(404, 422), tags=["queue"])
    def queue(
        request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = PAGE, after: str = "", mine: bool = False
    ) -> Any:
        """List what is in work, then what waits, in the order of running, and how many there are in all.

        The caller's own jobs stand in `own` whatever their position. `next` is what `after` takes for the next page.
        """
        return queue_json(request, limit, after, mine)

    @router.patch("/queue", responses=refusals(422), tags=["queue"])
    def change(request: Request, body: QueueChange) -> Any:
        """While the queue is paused nothing new begins; what runs is finished."""
        get_studio().queue.pause(body.paused)
        return queue_json(request)

    @router.delete("/queue", responses=refusals(422), tags=["queue"])
    def clear(request: Request, mine: bool = True) -> Any:
        """Cancel all that waits: of this caller, or with mine=false of everyone."""
        return {"cancelled": get_studio().queue.clear(client_of(request) if mine else None)}

    @router.get("/presets", responses=refusals(), tags=["studio"])
    def presets() -> Any:
        """The presets: their names, whether they are shipped, and what each sets by key."""
        store = get_studio().presets
        found = [store.get(name) for name in store.names()]
        return Answer(
            {"presets": [{"name": one.name, "shipped": one.shipped, "values": dict(one.values)} for one in found]}
        )

    @router.get("/capabilities", responses=refusals(), tags=["studio"])
    def can() -> Any:
        """Models, every option with its range, and the limits of this service."""
        return Response(cache.text(get_studio()), media_type="application/json")


def _term(body: dict[str, Any], name: str, kind: Any) -> Any:
    """Return a term of the request, checked as `TERMS` documents it; None when it is not there."""
    if name not in body:
        return None
    try:
        value: Any = TypeAdapter(kind).validate_python(body[name])
    except ValidationError as error:
        allowed = error.errors()[0]["msg"]
        raise OptionError(source=SOURCE, key=name, value=str(body[name])[:60], allowed=allowed) from None
    return value
