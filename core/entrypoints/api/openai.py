"""OpenAI's dialect: POST /v1/images/generations, POST /v1/images/edits and GET /v1/models, for clients that know nothing else.

The extra fields are those of SGLang and vLLM-Omni. A field that would change the picture and that this studio does not
have is refused; fields about billing, moderation and callers are taken and have no effect.
What this module does not know: the other dialects.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from core import __version__
from core.config.schema import AUTO
from core.entrypoints.api.answers import Answer, install_errors
from core.entrypoints.api.guard import Guard
from core.entrypoints.api.orders import SOURCE, client_of, finished, submit
from core.entrypoints.api.uploads import mask_of_alpha
from core.errors import InputError, NotFoundError, OptionError, QueueFullError, StudioError, UnknownModelError
from core.studio import Studio
from core.types import IMAGE, MASK, Job, JobTerms, Sources

GetStudio = Callable[[], Studio]
_UNREAD = ("input_fidelity", "partial_images")  # of a form: no effect here
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


class Order(BaseModel):
    """The body of /v1/images/generations."""

    model_config = ConfigDict(extra="forbid")
    prompt: str
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=64)] | None = None
    size: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=1, le=100)] | None = None
    background: Literal["auto", "opaque"] | None = None
    stream: Literal[False] | None = None
    quality: str | None = None  # from here to `user`: no effect here
    style: str | None = None
    moderation: str | None = None
    user: str | None = None
    negative_prompt: str | None = None  # from here on: what SGLang and vLLM-Omni add
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None


def create_openai(get_studio: GetStudio) -> FastAPI:
    """The app to be mounted at /v1."""
    app = FastAPI(title="Z Darkroom: OpenAI", version=__version__, docs_url=None, redoc_url=None)

    @app.post("/images/generations")
    async def generate(order: Order, request: Request) -> Response:
        """Make the pictures and answer when they are there."""
        studio = await anyio.to_thread.run_sync(get_studio)
        values = _values(order)
        terms = JobTerms(client=client_of(request))
        job = await anyio.to_thread.run_sync(submit, studio, values, terms)
        job = await finished(studio, job, request)
        return await anyio.to_thread.run_sync(_answer, studio, job, order.response_format, _base_url(request))

    @app.post("/images/edits")
    async def edit(request: Request) -> Response:
        """Draw over a picture: the form's `image`, whole, or where `mask` (or the picture itself) is transparent."""
        studio = await anyio.to_thread.run_sync(get_studio)
        form = await request.form()
        fields = {name: value for name, value in form.items() if isinstance(value, str) and name not in _UNREAD}
        order, strength = _form_order(fields), fields.get("strength")
        files = {name: await _file(form.getlist(name) or form.getlist(f"{name}[]"), name) for name in ("image", "mask")}
        values = _values(order) | ({"img2img.strength": strength} if strength is not None else {})
        sources = await anyio.to_thread.run_sync(_sources, studio, files["image"], files["mask"])
        terms = JobTerms(client=client_of(request))
        job = await anyio.to_thread.run_sync(submit, studio, values, terms, None, sources)
        job = await finished(studio, job, request)
        return await anyio.to_thread.run_sync(_answer, studio, job, order.response_format, _base_url(request))

    @app.get("/models")
    def models() -> Any:
        """The models that can be used now."""
        known = [model.id for model in get_studio().catalog.models() if model.problem is None]
        return {"object": "list", "data": [_model(model_id) for model_id in known]}

    @app.get("/models/{model_id}")
    def model(model_id: str) -> Any:
        """One of them."""
        known = [model.id for model in get_studio().catalog.models()]
        if model_id not in known:
            raise UnknownModelError(came=model_id[:60], known=", ".join(known))
        return _model(model_id)

    app.add_middleware(Guard, get_studio=get_studio, say=problem)
    install_errors(app, problem)
    return app


def _values(order: Order) -> dict[str, Any]:
    """The order as options by schema key; what it leaves out is left to the settings."""
    values: dict[str, Any] = {
        "generation.prompt": order.prompt,
        "generation.negative_prompt": order.negative_prompt,
        "generation.num_inference_steps": order.num_inference_steps,
        "generation.guidance_scale": order.guidance_scale,
        "generation.seed": order.seed,
        "generation.num_images": order.n or 1,
        "model.id": order.model,
        "output.format": order.output_format,
        "output.quality": order.output_compression,
    }
    if order.size not in (None, AUTO):
        found = _SIZE.fullmatch(order.size or "")
        if not found:
            allowed = {"en": "auto, or such as 1024x768", "zh": "auto，或如 1024x768"}
            raise OptionError(source=SOURCE, key="size", came=str(order.size)[:60], allowed=allowed)
        values |= {"generation.width": int(found[1]), "generation.height": int(found[2])}
    return {key: value for key, value in values.items() if value is not None}


def _form_order(fields: Mapping[str, str]) -> Order:
    """The words of a form as an order. OptionError for the first that can't be one."""
    try:
        return Order.model_validate({name: value for name, value in fields.items() if name != "strength"})
    except ValidationError as error:
        found = error.errors()[0]
        key = ".".join(str(part) for part in found["loc"])
        raise OptionError(source=SOURCE, key=key, came=str(fields.get(key))[:60], allowed=found["msg"]) from None


async def _file(sent: Sequence[Any], name: str) -> bytes | None:
    """The bytes of the one file of this name; None when there is none. OptionError for several."""
    if len(sent) > 1:
        raise OptionError(source=SOURCE, key=name, came=len(sent), allowed={"en": "one picture", "zh": "一张图片"})
    data: bytes | None = await sent[0].read() if sent and not isinstance(sent[0], str) else None
    return data


def _sources(studio: Studio, image: bytes | None, mask: bytes | None) -> Sources:
    """The pictures, kept. What is transparent is drawn anew; a mask without any is taken as black and white."""
    if image is None:
        raise OptionError(source=SOURCE, key="image", came=None, allowed={"en": "a picture file", "zh": "图片文件"})
    anew = mask_of_alpha(image) if mask is None else mask_of_alpha(mask) or mask
    kept = {IMAGE: studio.input_images.keep(image, "image")}
    return Sources({**kept, **({MASK: studio.input_images.keep(anew, "mask")} if anew is not None else {})})


def _answer(studio: Studio, job: Job, response_format: str | None, base_url: str) -> Response:
    request = job.request
    return Answer(
        {
            "created": int(time.time()),
            "data": _data(studio, job, response_format, base_url),
            "size": f"{request.width}x{request.height}",
            "output_format": request.options["output.format"],
        }
    )


def _data(studio: Studio, job: Job, response_format: str | None, base_url: str) -> list[dict[str, str]]:
    """The pictures in the order of their seeds: as addresses when that was asked for, else as base64."""
    if response_format == "url":
        return [{"url": f"{base_url}/api/v1/images/{image_id}"} for image_id in job.image_ids]
    files = [studio.history.file(image_id).read_bytes() for image_id in job.image_ids]
    return [{"b64_json": base64.b64encode(file).decode("ascii")} for file in files]


def _base_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers['host']}"


def _model(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": 0, "owned_by": "z-darkroom"}


def problem(error: StudioError, status: int) -> Response:
    """The error in OpenAI's shape. A picture that failed is not tried again by the client: it would fail again."""
    if isinstance(error, UnknownModelError):
        status = 404
    elif status == 422:
        status = 400
    kinds: dict[type[StudioError], str] = {QueueFullError: "rate_limit_error", NotFoundError: "not_found_error"}
    kind = kinds.get(type(error)) or ("invalid_request_error" if status < 500 else "server_error")
    parameter = error.values.get("key") if isinstance(error, InputError) else None
    words = f"{error.message('en')} / {error.message('zh')}"
    body = {"error": {"message": words, "type": kind, "param": parameter, "code": error.code}}
    again = "true" if isinstance(error, QueueFullError) else "false"
    return Answer(body, status_code=status, headers={"x-should-retry": again})
