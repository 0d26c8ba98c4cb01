"""A1111's dialect: /sdapi/v1/txt2img, img2img, progress, interrupt and options; `a1111_facts` has what only tells.

Clients of A1111 always name a sampler; this studio has one, so any name is taken and the answer says which one was used.
What would change the picture and is not here (scripts, high-resolution passes, face restoration, tiling) is refused.
What this module does not know: the other dialects.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import anyio.to_thread
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from core import __version__
from core.entrypoints.api import a1111_hires
from core.entrypoints.api.a1111_facts import SAMPLER, add_facts
from core.entrypoints.api.a1111_hires import SecondPass
from core.entrypoints.api.answers import Answer, described, install_errors
from core.entrypoints.api.guard import Guard
from core.entrypoints.api.orders import SOURCE, client_of, finished, submit
from core.entrypoints.api.uploads import from_base64, inverted
from core.errors import OptionError, StudioError
from core.storage.infotext import write_infotext
from core.studio import Studio
from core.types import IMAGE, MASK, ImageRecord, Job, JobState, JobTerms, Sources

GetStudio = Callable[[], Studio]
_CHECKPOINT = "sd_model_checkpoint"
_ABSENT = ("restore_faces", "tiling", "script_name")  # fields that ask for what is not here


class Order(BaseModel):
    """What both bodies have, as far as it is read; clients send dozens of other fields, which have no effect."""

    model_config = ConfigDict(extra="allow")
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    width: int = 512
    height: int = 512
    steps: int | None = None
    cfg_scale: float | None = None
    batch_size: Annotated[int, Field(ge=1)] = 1
    n_iter: Annotated[int, Field(ge=1)] = 1
    override_settings: dict[str, Any] = {}
    send_images: bool = True


class TextOrder(Order, SecondPass):
    """The body of txt2img."""


class PictureOrder(Order):
    """The body of img2img: a picture to draw over, and a mask that is white where it is drawn anew."""

    init_images: list[str] = []
    mask: str | None = None
    denoising_strength: float = 0.75
    inpainting_mask_invert: bool = False


def create_a1111(get_studio: GetStudio) -> FastAPI:
    """The app to be mounted at /sdapi/v1."""
    app = FastAPI(title="Z Darkroom: A1111", version=__version__, docs_url=None, redoc_url=None)
    chosen: dict[str, str] = {}  # client -> the model that it set with /options; forgotten when the app ends
    _add_generation(app, get_studio, chosen)
    _add_options(app, get_studio, chosen)
    add_facts(app, get_studio)
    app.add_middleware(Guard, get_studio=get_studio, say=problem)
    install_errors(app, problem)
    return app


def _add_generation(app: FastAPI, get_studio: GetStudio, chosen: dict[str, str]) -> None:
    @app.post("/txt2img")
    async def txt2img(order: TextOrder, request: Request) -> Response:
        """Make the pictures and answer when they are there."""
        studio = await anyio.to_thread.run_sync(get_studio)
        values = {
            **_values(order, chosen.get(client_of(request))),
            **a1111_hires.values_of(order, order.width, order.height),
        }
        job = await anyio.to_thread.run_sync(submit, studio, values, JobTerms(client=client_of(request)))
        job = await finished(studio, job, request)
        return await anyio.to_thread.run_sync(_answer, studio, job, order)

    @app.post("/img2img")
    async def img2img(order: PictureOrder, request: Request) -> Response:
        """Draw over a picture, whole or within a mask, and answer when it is done."""
        studio = await anyio.to_thread.run_sync(get_studio)
        values = _values(order, chosen.get(client_of(request)))
        values["img2img.strength"] = order.denoising_strength
        sources = await anyio.to_thread.run_sync(_sources, studio, order)
        terms = JobTerms(client=client_of(request))
        job = await anyio.to_thread.run_sync(submit, studio, values, terms, None, sources)
        job = await finished(studio, job, request)
        return await anyio.to_thread.run_sync(_answer, studio, job, order)

    @app.get("/progress")
    def progress(request: Request) -> Any:
        """The caller's running job, else whatever runs."""
        jobs = get_studio().queue.active()
        mine = [job for job in jobs if job.client == client_of(request)] or jobs
        return _progress(get_studio(), mine)

    @app.post("/interrupt")
    @app.post("/skip")
    def interrupt(request: Request) -> Any:
        """Cancel the caller's running job, within one step."""
        for job in get_studio().queue.active():
            if job.client == client_of(request) and job.state is not JobState.QUEUED:
                get_studio().queue.cancel(job.id)
        return {}


def _add_options(app: FastAPI, get_studio: GetStudio, chosen: dict[str, str]) -> None:
    @app.get("/options")
    def options(request: Request) -> Any:
        """The model of this caller's next picture, and the file format."""
        settings = get_studio().settings
        model = chosen.get(client_of(request), str(settings["model.id"]))
        return {_CHECKPOINT: model, "samples_format": settings["output.format"]}

    @app.post("/options")
    def set_options(request: Request, wanted: dict[str, Any]) -> Any:
        """Choose the model of this caller's next pictures; every other option is set in configs/."""
        for key, value in wanted.items():
            if key != _CHECKPOINT:
                raise OptionError(source=SOURCE, key=key, came=str(value)[:60], allowed=_CHECKPOINT)
        if _CHECKPOINT in wanted:
            known = [model.id for model in get_studio().catalog.models()]
            if wanted[_CHECKPOINT] not in known:
                came = str(wanted[_CHECKPOINT])[:60]
                raise OptionError(source=SOURCE, key=_CHECKPOINT, came=came, allowed=", ".join(known))
            chosen[client_of(request)] = wanted[_CHECKPOINT]
        return {}


def _values(order: Order, chosen: str | None) -> dict[str, Any]:
    """The order as options by schema key. OptionError for what it asks for and is not here."""
    extra = order.model_extra or {}
    for name in _ABSENT:
        if extra.get(name):
            raise OptionError(
                source=SOURCE,
                key=name,
                came=str(extra[name])[:60],
                allowed={"en": "false or empty", "zh": "false 或空"},
            )
    if scripts := [name for name, value in (extra.get("alwayson_scripts") or {}).items() if value]:
        raise OptionError(
            source=SOURCE, key="alwayson_scripts", came=", ".join(scripts)[:60], allowed={"en": "none", "zh": "无"}
        )
    values = {
        "generation.prompt": order.prompt,
        "generation.negative_prompt": order.negative_prompt,
        "generation.seed": order.seed,
        "generation.width": order.width,
        "generation.height": order.height,
        "generation.num_inference_steps": order.steps,
        "generation.cfg_scale": order.cfg_scale,
        "generation.num_images": order.batch_size * order.n_iter,
        "model.id": order.override_settings.get(_CHECKPOINT) or chosen,
    }
    return {key: value for key, value in values.items() if value is not None}


def _sources(studio: Studio, order: PictureOrder) -> Sources:
    """The pictures of the order, kept. OptionError when it has none or several."""
    if len(order.init_images) != 1:
        allowed = {"en": "one picture", "zh": "一张图片"}
        raise OptionError(source=SOURCE, key="init_images", came=len(order.init_images), allowed=allowed)
    kept = {IMAGE: studio.input_images.keep(from_base64(order.init_images[0], "init_images"), "init_images")}
    if order.mask:
        mask = studio.input_images.keep(from_base64(order.mask, "mask"), "mask")
        turned = inverted(studio.input_images.file(mask)) if order.inpainting_mask_invert else None
        kept[MASK] = mask if turned is None else studio.input_images.keep(turned, "mask")
    return Sources(kept)


def _answer(studio: Studio, job: Job, order: Order) -> Response:
    """The pictures as base64, and `info`: JSON in a string, as A1111 has it."""
    records = [studio.history.get(image_id) for image_id in job.image_ids]
    files = [studio.history.file(record.id).read_bytes() for record in records] if order.send_images else []
    images = [base64.b64encode(file).decode("ascii") for file in files]
    info = json.dumps(_info(job, records))
    return Answer({"images": images, "parameters": _echo(order), "info": info})


def _echo(order: Order) -> dict[str, Any]:
    """What was read of the order; the rest had no effect, and may hold what JSON has no word for."""
    return order.model_dump(include=set(type(order).model_fields) - {"override_settings", "init_images", "mask"})


def _info(job: Job, records: Sequence[ImageRecord]) -> dict[str, Any]:
    request = job.request
    return {
        "job_id": job.id,
        "prompt": request.prompt,
        "all_prompts": [record.request.prompt for record in records],
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "all_seeds": [record.request.seed for record in records],
        "width": request.width,
        "height": request.height,
        "steps": request.num_inference_steps,
        "cfg_scale": request.guidance_scale + 1,
        "sampler_name": SAMPLER,
        "batch_size": len(records),
        "sd_model_name": request.model,
        "infotexts": [write_infotext(record.request, record.effective) for record in records],
        "job_timestamp": job.created_at.strftime("%Y%m%d%H%M%S"),
        "version": f"Z Darkroom {__version__}",
    }


def _progress(studio: Studio, jobs: Sequence[Job]) -> dict[str, Any]:
    job = jobs[0] if jobs else None
    now = job.progress if job else None
    preview = studio.queue.preview(job.id) if job else None
    return {
        "progress": now.fraction if now else 0.0,
        "eta_relative": (now.eta_seconds or 0.0) if now else 0.0,
        "state": {
            "skipped": False,
            "interrupted": bool(job and job.cancel_requested),
            "stopping_generation": bool(job and job.cancel_requested),
            "job": job.id if job else "",
            "job_count": len(jobs),
            "job_no": 0,
            "job_timestamp": job.created_at.strftime("%Y%m%d%H%M%S") if job else "0",
            "sampling_step": now.step if now else 0,
            "sampling_steps": now.steps if now else 0,
        },
        "current_image": base64.b64encode(preview).decode("ascii") if preview else None,
        "textinfo": None,
    }


def problem(error: StudioError, status: int) -> Response:
    """The error in A1111's shape, in both languages."""
    words = f"{error.message('en')} / {error.message('zh')}"
    body = {"error": error.code, "detail": words, "body": "", "errors": words, "problem": described(error)}
    return Answer(body, status_code=status)
