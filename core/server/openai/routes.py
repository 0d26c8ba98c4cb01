"""Serve OpenAI's images/generations, images/edits, images/variations and models, for clients that know nothing else.

The bodies are read in `request`. A field that would change the image and that the studio does not have is refused by
name; fields that change nothing here (quality, style) are taken and listed in the answer as `ignored`.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.to_thread
from fastapi import FastAPI, Request
from PIL import Image
from starlette.responses import Response, StreamingResponse

from core import __version__
from core.errors import InputError, NotFoundError, QueueFullError, StudioError, UnknownModelError
from core.server.body_limit import Guard
from core.server.error_responses import Answer, install_errors, is_temporary, status_of
from core.server.job_marks import JobMarks
from core.server.openai.request import EditBody, ImageBody, Images, read_edit, read_variation
from core.server.submission import SIGN, client_of, demand_images, ended, submit, watch
from core.studio import Studio
from core.types import IMAGE, MASK, REFERENCES, InputSources, Job, SubmitOptions

GetStudio = Callable[[], Studio]
_MODELS_WITH_URLS = ("dall-e-2", "dall-e-3")  # their clients read `url` unless they ask for base64
_NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


def create_openai(get_studio: GetStudio) -> FastAPI:
    """Return the app to be mounted at /v1."""
    app = FastAPI(title="Z Darkroom: OpenAI", version=__version__, docs_url=None, redoc_url=None)
    app.state.job_marks = JobMarks()
    _add_images(app, get_studio)
    _add_models(app, get_studio)
    app.add_middleware(Guard, get_studio=get_studio, say=problem)
    install_errors(app, problem)
    return app


def _add_images(app: FastAPI, get_studio: GetStudio) -> None:
    streams: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}

    @app.post("/images/generations", responses=streams)
    async def generate(body: ImageBody, request: Request) -> Response:
        """Generate images and answer when they are ready, or as server-sent events with `stream`."""
        studio = await anyio.to_thread.run_sync(get_studio)
        return await _serve(studio, body, None, request, "image_generation")

    @app.post("/images/edits", responses=streams)
    async def edit(request: Request) -> Response:
        """Generate over the image, whole, or where the mask (or the image itself) is transparent. A form or JSON.

        Models that edit by instruction take further images.
        """
        studio = await anyio.to_thread.run_sync(get_studio)
        body, images = await read_edit(request)
        return await _serve(studio, body, images, request, "image_edit")

    @app.post("/images/variations")
    async def variation(request: Request) -> Response:
        """Generate over the image with a neutral prompt, or with the form's own."""
        studio = await anyio.to_thread.run_sync(get_studio)
        body, images = await read_variation(request)
        return await _serve(studio, body, images, request, "image_edit")


def _add_models(app: FastAPI, get_studio: GetStudio) -> None:
    @app.get("/models")
    def models() -> Any:
        """List the models that can be used now."""
        known = [model.id for model in get_studio().catalog.models() if model.problem is None]
        return {"object": "list", "data": [_model(model_id) for model_id in known]}

    @app.get("/models/{model_id:path}")
    def model(model_id: str) -> Any:
        """Return one of them."""
        known = get_studio().catalog.ids()
        if model_id not in known:
            raise UnknownModelError(value=model_id[:60], known=", ".join(known))
        return _model(model_id)


def _model(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": 0, "owned_by": "z-darkroom"}


def model_for(studio: Studio, name: str | None) -> str | None:
    """Return the catalogue's id for a model that a client names; None for the configured default.

    A name is an id or a repository of a hub. Any other is answered by the default unless `service.openai_models` is
    strict. Raises UnknownModelError.
    """
    if not name:
        return None
    known = studio.catalog.ids()
    if name in known:
        return name
    repository = name.lower()
    for model in studio.catalog.models() if "/" in repository else ():
        if model.problem is None and repository in (source.lower() for source in model.sources.values()):
            return model.id
    if studio.settings.service.openai_models == "strict" and name != studio.settings.model.id:
        raise UnknownModelError(value=name[:60], known=", ".join(known))
    return None


async def _serve(
    studio: Studio, body: ImageBody, images: Images | None, request: Request, event: str
) -> Response:  # fmt: skip
    """Queue the job and answer with its images, or with a stream of events."""
    values, ignored = body.values()
    model = await anyio.to_thread.run_sync(model_for, studio, body.model)
    values |= {} if model is None else {"model.id": model}
    sources = None
    if images is not None:
        sources = await anyio.to_thread.run_sync(_sources, studio, images, model or studio.settings.model.id, ignored)
    terms = SubmitOptions(client=client_of(request))
    job = await anyio.to_thread.run_sync(submit, studio, values, terms, None, sources)
    if body.stream:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Model": job.request.model}
        stream = _events(studio, job, body, event, request)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
    job = demand_images(await ended(studio, job, request))
    data = await anyio.to_thread.run_sync(_data, studio, job, body, request)
    if isinstance(body, EditBody) and body.revised:
        data = [{**entry, "revised_prompt": job.request.prompt} for entry in data]
    answer = {
        "created": int(time.time()),
        "data": data,
        **_facts(job, body),
        "usage": _NO_USAGE,
        "model": job.request.model,
    }
    return Answer(answer | ({"ignored": ignored} if ignored else {}), headers={"X-Model": job.request.model})


def _facts(job: Job, body: ImageBody) -> dict[str, Any]:
    return {
        "size": f"{job.request.width}x{job.request.height}",
        "quality": body.quality if body.quality in ("low", "medium", "high") else "auto",
        "background": "opaque",
        "output_format": job.request.options["output.format"],
    }


def _sources(studio: Studio, images: Images, model: str, ignored: list[str]) -> InputSources:
    """Store the images. Where the mask, or else the first image, is transparent, it is generated anew.

    A model without masks gets a transparent image as a whole, and `ignored` says so.
    """
    roles = (IMAGE, *REFERENCES)
    kept = {role: studio.input_images.keep(data, "image") for role, data in zip(roles, images.images, strict=False)}
    mask = images.mask
    if mask is None and studio.input_images.is_transparent(images.images[0], "image"):
        if MASK in studio.catalog.find(model).inputs:
            mask = images.images[0]
        else:
            ignored.append("image: its transparency (this model takes no mask)")
    if mask is not None:
        kept[MASK] = studio.input_images.keep_mask(
            mask, "mask", studio.input_images.size(kept[IMAGE]), transparent=True
        )
    return InputSources(kept)


def _data(studio: Studio, job: Job, body: ImageBody, request: Request) -> list[dict[str, str]]:
    """Return the images in the order of their seeds, as addresses or as base64.

    A client that names neither a format nor a model may be of either age of OpenAI's models, so it gets both.
    """
    sign = request.scope.get(SIGN, str)
    origin = f"{request.url.scheme}://{request.headers['host']}"
    undecided = body.response_format is None and not body.model
    as_url = body.response_format == "url" or (body.response_format is None and body.model in _MODELS_WITH_URLS)
    data = []
    for image_id in job.image_ids:
        address = {"url": f"{origin}{sign(f'/api/v1/images/{image_id}')}"}
        data.append(address if as_url else {"b64_json": _base64(studio, image_id)} | (address if undecided else {}))
    return data


def _base64(studio: Studio, image_id: str) -> str:
    return base64.b64encode(studio.history.file(image_id).read_bytes()).decode("ascii")


# -- streaming -----------------------------------------------------------------------------------------------------------


async def _events(studio: Studio, job: Job, body: ImageBody, event: str, request: Request) -> AsyncIterator[str]:
    """Yield server-sent events: up to `partial_images` previews of each image, then each image as it is ready.

    The job is cancelled when its caller goes away.
    """
    partials = Partials(body.partial_images or 0)
    ready = 0
    try:
        async for seen in watch(studio, job, request):
            job = seen
            if partials.due(job):
                preview = await anyio.to_thread.run_sync(studio.queue.preview, job.id)
                if preview is not None:
                    data = await anyio.to_thread.run_sync(_converted, preview, job.request.options["output.format"])
                    yield _event(f"{event}.partial_image", job, body, data, partial_image_index=partials.sent())
            for image_id in job.image_ids[ready:]:
                ready += 1
                data = await anyio.to_thread.run_sync(_base64, studio, image_id)
                yield _event(f"{event}.completed", job, body, data, usage=_NO_USAGE)
        demand_images(job)
    except StudioError as error:
        yield f"event: error\ndata: {json.dumps({'type': 'error', **_error(error, _status(error))})}\n\n"
    finally:
        if job.state.active:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(studio.queue.cancel, job.id)


class Partials:
    """Selects the steps of each image at which a preview is sent, evenly spread."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._image = 0
        self._index = 0

    def due(self, job: Job) -> bool:
        """Return True when the next preview of the present image is due."""
        now = job.progress
        if not self._count or now is None or not now.preview_step or not now.steps:
            return False
        if now.image != self._image:
            self._image, self._index = now.image, 0
        return self._index < self._count and now.preview_step / now.steps >= self._index / (self._count + 1)

    def sent(self) -> int:
        """Count one, and return its index from 0."""
        self._index += 1
        return self._index - 1


def _event(kind: str, job: Job, body: ImageBody, data: str, **more: Any) -> str:
    facts = {"type": kind, "b64_json": data, "created_at": int(time.time()), **_facts(job, body), **more}
    return f"event: {kind}\ndata: {json.dumps({**facts, 'model': job.request.model})}\n\n"


def _converted(preview: bytes, output_format: str) -> str:
    """Return a preview (WebP) in the format that was asked for, as base64."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(preview)) as image:
        image.convert("RGB").save(buffer, output_format.upper())
    return base64.b64encode(buffer.getvalue()).decode("ascii")


# -- errors ------------------------------------------------------------------------------------------------------------


def problem(error: StudioError, status: int) -> Response:
    """Return the error in OpenAI's shape. An image that failed is not to be tried again: it would fail again."""
    status = _status(error, status)
    again = "true" if isinstance(error, QueueFullError) or is_temporary(error) else "false"
    return Answer(_error(error, status), status_code=status, headers={"x-should-retry": again})


def _status(error: StudioError, status: int | None = None) -> int:
    status = status_of(error) if status is None else status
    if isinstance(error, UnknownModelError):
        return 404
    return 400 if status == 422 else status


def _error(error: StudioError, status: int) -> dict[str, Any]:
    kinds: dict[type[StudioError], str] = {QueueFullError: "rate_limit_error", NotFoundError: "not_found_error"}
    kind = kinds.get(type(error)) or ("invalid_request_error" if status < 500 else "server_error")
    parameter = error.values.get("key") if isinstance(error, InputError) else None
    words = f"{error.message('en')} / {error.message('zh')}"
    return {"error": {"message": words, "type": kind, "param": parameter, "code": error.code}}
