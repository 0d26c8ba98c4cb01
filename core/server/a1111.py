"""Serve A1111's API: txt2img, img2img, progress, interrupt, skip and options; lists are in `a1111_info`, tools in `a1111_extras`.

Bodies are read in `a1111_request`. What asks for something that is not here is named in the answer's `ignored`, or refused.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from PIL import Image
from starlette.responses import Response

from core import __version__
from core.config.options.general import MAX_SEED
from core.config.prompt_weights import CLIP_SKIP
from core.errors import OptionError, StudioError
from core.i18n import localize
from core.models.families import FAMILIES
from core.server.a1111_control import read_units
from core.server.a1111_extras import add_extras
from core.server.a1111_info import add_facts
from core.server.a1111_request import (
    CHECKPOINT,
    CLIP_FIELD,
    OVERRIDDEN_CLIP,
    VARIATION_SEED,
    VARIATION_STRENGTH,
    Body,
    ImageBody,
    Reading,
    TextBody,
    fit_clip_skip,
    fit_sampler,
    read_body,
)
from core.server.a1111_sessions import Ending, Sessions, find_model, options_of, read_options
from core.server.body_limit import Guard, fitted, from_base64
from core.server.error_responses import Answer, described, install_errors
from core.server.job_marks import JobMarks
from core.server.submission import SOURCE, check_count, client_of, demand_images, ended, submit
from core.storage.infotext import read_infotext, write_infotext
from core.studio import Studio
from core.types import (
    IMAGE,
    MASK,
    REFERENCES,
    GenerationRequest,
    ImageRecord,
    InputSources,
    Job,
    JobState,
    ModelInfo,
    SubmitOptions,
)

GetStudio = Callable[[], Studio]
MOST_BLUR = 64  # px of mask_blur, as A1111's page allows
NEXT = 100  # priority of what is left of a job after a skip: it goes on at once

log = logging.getLogger(__name__)


def create_a1111(get_studio: GetStudio) -> FastAPI:
    """Return the app to be mounted at /sdapi/v1."""
    app = FastAPI(title="Z Darkroom: A1111", version=__version__, docs_url=None, redoc_url=None)
    app.state.job_marks = JobMarks()
    sessions = Sessions()
    _add_generation(app, get_studio, sessions)
    _add_options(app, get_studio, sessions)
    add_facts(app, get_studio)
    add_extras(app, get_studio)
    app.add_middleware(Guard, get_studio=get_studio, say=problem)
    install_errors(app, problem)
    return app


def _add_generation(app: FastAPI, get_studio: GetStudio, sessions: Sessions) -> None:
    async def generate(body: Body, request: Request) -> Response:
        studio = await anyio.to_thread.run_sync(get_studio)
        client = client_of(request)
        reading = read_body(body, sessions.options(client), studio.requests.upscaler_names())
        await anyio.to_thread.run_sync(_set_model, studio, body, reading)
        await anyio.to_thread.run_sync(_fit_model, studio, body, reading)
        sources = await anyio.to_thread.run_sync(_sources, studio, body, reading)
        jobs = await anyio.to_thread.run_sync(_submit, studio, reading, client, sources)
        if reading.ignored:
            log.info("job %s: without effect: %s", jobs[0].id, ", ".join(reading.ignored))
        images = await _images(studio, jobs, request, sessions)
        return await anyio.to_thread.run_sync(_answer, studio, jobs[0], images, body, reading)

    @app.post("/txt2img")
    async def txt2img(body: TextBody, request: Request) -> Response:
        """Generate images and answer when they are ready."""
        return await generate(body, request)

    @app.post("/img2img")
    async def img2img(body: ImageBody, request: Request) -> Response:
        """Generate over an image, whole or within a mask, and answer when it is ready."""
        return await generate(body, request)

    @app.get("/progress")
    def progress(request: Request, skip_current_image: bool = False) -> Any:
        """Return the progress of the caller's running job, else of whatever runs."""
        jobs = get_studio().queue.active()
        mine = [job for job in jobs if job.client == client_of(request)] or jobs
        return _progress(get_studio(), mine, sessions, not skip_current_image)

    def end(request: Request, ending: Ending) -> None:
        for job in get_studio().queue.active():
            if job.client == client_of(request) and job.state is not JobState.QUEUED:
                sessions.end(job.id, ending)
                get_studio().queue.cancel(job.id)

    @app.post("/interrupt")
    def interrupt(request: Request) -> Any:
        """End the caller's running job within one step; its call is answered with the images that are done."""
        end(request, "interrupt")
        return {}

    @app.post("/skip")
    def skip(request: Request) -> Any:
        """End the image in work within one step, and go on with the next one of the job."""
        end(request, "skip")
        return {}


def _add_options(app: FastAPI, get_studio: GetStudio, sessions: Sessions) -> None:
    @app.get("/options")
    def options(request: Request) -> Any:
        """Return the options of this caller's next images."""
        return options_of(get_studio(), sessions.options(client_of(request)))

    @app.post("/options")
    def set_options(request: Request, wanted: dict[str, Any]) -> Any:
        """Set the model and the file format of this caller's next images; names in `ignored` have no effect."""
        client = client_of(request)
        reading = read_options(get_studio(), wanted, sessions.options(client))
        sessions.set_options(client, reading.values)
        if reading.ignored:
            log.info("options without effect: %s", ", ".join(reading.ignored))
        return {"ignored": reading.ignored} if reading.ignored else {}

    @app.post("/refresh-checkpoints")
    @app.post("/refresh-vae")
    @app.post("/refresh-loras")
    @app.post("/refresh-embeddings")
    def refresh() -> Any:
        """Do nothing: files are looked at whenever they are listed."""

    @app.post("/unload-checkpoint")
    def unload() -> Any:
        """Have the worker give the model's memory back."""
        get_studio().worker.unload()
        return {}

    @app.post("/reload-checkpoint")
    def reload(request: Request) -> Any:
        """Have the worker load the model of this caller's next images."""
        studio = get_studio()
        selected = sessions.options(client_of(request))
        studio.models.load(str(selected.get("model.id", studio.settings.model.id)))
        return {}


def _set_model(studio: Studio, body: Body, reading: Reading) -> None:
    """Take the checkpoint of override_settings; one that is unknown is dropped, as A1111 does, and named."""
    name = body.override_settings.get(CHECKPOINT)
    if not name:
        return
    model = find_model(studio, name)
    if model is None:
        reading.ignore(f"override_settings.{CHECKPOINT}: {str(name)[:60]}")
    else:
        reading.values["model.id"] = model.id


def _model(studio: Studio, reading: Reading) -> ModelInfo:
    return studio.catalog.find(str(reading.values.get("model.id", studio.settings["model.id"])))


def _fit_model(studio: Studio, body: Body, reading: Reading) -> None:
    model = _model(studio, reading)
    fit_clip_skip(reading, model.cannot, CLIP_FIELD if CLIP_FIELD in (body.model_extra or {}) else OVERRIDDEN_CLIP)
    if model.pipeline in FAMILIES:
        fit_sampler(reading, FAMILIES[model.pipeline].prediction)


def _sources(studio: Studio, body: Body, reading: Reading) -> InputSources | None:
    """Store the images of the body: those of img2img and of ControlNets."""
    kept = _source_images(studio, body, reading) if isinstance(body, ImageBody) else {}
    kept |= read_units(studio, body, reading)
    return InputSources(kept) if kept else None


def _source_images(studio: Studio, body: ImageBody, reading: Reading) -> dict[str, str]:
    """Store the images of img2img, the first at the size that is generated. OptionError when it has none.

    Several go to a model that edits them by instruction: OptionError for any other.
    Where only the masked part is generated, the file has the size of the image, and the body's size is that of the part.
    """
    most = 1 + len(REFERENCES) if _model(studio, reading).edits else 1
    if not 1 <= len(body.init_images) <= most:
        allowed = localize("server.a1111.images", most=most) if most > 1 else localize("server.a1111.one_image")
        raise OptionError(source=SOURCE, key="init_images", value=len(body.init_images), allowed=allowed)
    size = body.width, body.height
    image = studio.input_images.keep(from_base64(body.init_images[0], "init_images"), "init_images")
    if reading.values.get("inpaint.area") == "masked":
        size = studio.input_images.size(image)
        reading.values |= {"generation.width": size[0], "generation.height": size[1]}
    further = [studio.input_images.keep(from_base64(one, "init_images"), "init_images") for one in body.init_images[1:]]
    kept = {IMAGE: _fitted(studio, image, size, body.resize_mode), **studio.requests.references(further)}
    if body.mask:
        blur = max(body.mask_blur or 0, 0)
        if body.mask_blur is None and {"mask_blur_x", "mask_blur_y"} & body.model_fields_set:
            blur = max((body.mask_blur_x + body.mask_blur_y) / 2, 0)
        data = from_base64(body.mask, "mask")
        own = studio.input_images.size(image)
        if blur > MOST_BLUR:
            reading.ignore(f"mask_blur: {blur:g} (used: {MOST_BLUR})")
        mask = studio.input_images.keep_mask(
            data, "mask", own, invert=body.inpainting_mask_invert, blur=min(blur, MOST_BLUR)
        )
        kept[MASK] = _fitted(studio, mask, size, body.resize_mode)
    return kept


def _fitted(studio: Studio, digest: str, size: tuple[int, int], mode: int) -> str:
    """Return the digest of a stored image as A1111's resize_mode lays it over `size`."""
    path: Path = studio.input_images.file(digest)
    data = fitted(path, size, mode)
    return digest if data is None else studio.input_images.keep(data, "init_images")


def _submit(studio: Studio, reading: Reading, client: str, sources: InputSources | None) -> list[Job]:
    """Queue the body: one job, or with a subseed one for each image, because there the seed stays and the subseed counts up."""
    count = reading.values["generation.num_images"]
    check_count(studio, count)
    terms = SubmitOptions(client=client)
    first = reading.values.get(VARIATION_SEED)
    if first is None or count == 1:
        return [submit(studio, reading.values, terms, None, sources)]
    jobs: list[Job] = []
    try:
        for k in range(count):
            own = {"generation.num_images": 1, VARIATION_SEED: (first + k) % (MAX_SEED + 1)}
            jobs.append(submit(studio, {**reading.values, **own}, terms, None, sources))
            reading.values["generation.seed"] = jobs[0].request.seed  # the random seed that -1 became
    except StudioError:
        for job in jobs:
            studio.queue.cancel(job.id)
        raise
    return jobs


async def _images(studio: Studio, jobs: Sequence[Job], request: Request, sessions: Sessions) -> list[ImageRecord]:
    """Wait for the images of the jobs. After an interrupt those that are done; after a skip the rest is generated, too.

    Raises a job's error, and StoppedError when it was cancelled elsewhere; the jobs that follow it are cancelled.
    """
    ids: list[str] = []
    waiting = list(jobs)
    try:
        while waiting:
            job = await ended(studio, waiting.pop(0), request)
            ending = sessions.ending(job.id)
            if job.state is not JobState.CANCELLED or ending is None:
                demand_images(job)
            ids += job.image_ids
            if ending == "interrupt":
                break
            if ending == "skip" and job.state is JobState.CANCELLED:
                waiting = [*await anyio.to_thread.run_sync(_after_skip, studio, job), *waiting]
    finally:
        for job in waiting:
            await anyio.to_thread.run_sync(studio.queue.cancel, job.id)
    records = await anyio.to_thread.run_sync(lambda: [studio.history.get(image_id) for image_id in ids])
    return sorted(records, key=lambda record: record.request.seed)


def _after_skip(studio: Studio, job: Job) -> list[Job]:
    """Queue what the job lacks, without the image that was in work: the first that is not done."""
    done = {studio.history.get(image_id).request.seed for image_id in job.image_ids}
    first = job.request.seed
    seeds = [seed for seed in range(first, first + job.request.num_images) if seed not in done][1:]
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and runs[-1][-1] == seed - 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    terms = SubmitOptions(client=job.client, priority=NEXT)
    return [studio.queue.submit(replace(job.request, seed=run[0], num_images=len(run)), terms) for run in runs]


# -- answers -------------------------------------------------------------------------------------------------------------


def _answer(studio: Studio, job: Job, records: Sequence[ImageRecord], body: Body, reading: Reading) -> Response:
    """Return the images as base64, and `info`: JSON in a string, as A1111 has it."""
    files = [studio.history.file(record.id).read_bytes() for record in records] if body.send_images else []
    images = [base64.b64encode(file).decode("ascii") for file in files]
    parameters = {**body.model_dump(), "init_images": None, "mask": None}
    info = json.dumps(_info(job, records, body, reading.ignored))
    return Answer({"images": images, "parameters": parameters, "info": info, "ignored": reading.ignored})


def _info(job: Job, records: Sequence[ImageRecord], body: Body, ignored: Sequence[str]) -> dict[str, Any]:
    """Return all of A1111's fields (of `Processed.js`), and `job_id`, `n_iter` and `ignored`."""
    request = records[0].request if records else job.request
    infotexts = [write_infotext(record.request, record.effective) for record in records]
    fields = read_infotext(infotexts[0]).fields if infotexts else {}
    strength = request.options[
        "hires.denoising_strength" if request.options["hires.enabled"] else "img2img.denoising_strength"
    ]
    over = request.options["hires.enabled"] or IMAGE in request.inputs
    return {
        "prompt": request.prompt,
        "all_prompts": [record.request.prompt for record in records],
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [record.request.negative_prompt for record in records],
        "seed": request.seed,
        "all_seeds": [record.request.seed for record in records],
        "subseed": _subseed(request),
        "all_subseeds": [_subseed(record.request) for record in records],
        "subseed_strength": request.options[VARIATION_STRENGTH],
        "width": request.width,
        "height": request.height,
        "sampler_name": fields.get("Sampler", "Euler"),
        "cfg_scale": request.cfg_scale,
        "steps": request.num_inference_steps,
        "batch_size": body.batch_size,
        "n_iter": body.n_iter,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": request.model,
        "sd_model_hash": fields.get("Model hash", ""),
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": strength if over else None,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": [],
        "job_timestamp": job.created_at.strftime("%Y%m%d%H%M%S"),
        "clip_skip": int(request.options.get(CLIP_SKIP, 1)),
        "is_using_inpainting_conditioning": False,
        "version": f"Z Darkroom {__version__}",
        "job_id": job.id,
        "ignored": list(ignored),
    }


def _subseed(request: GenerationRequest) -> int:
    """Return the variation seed, -1 where none acts."""
    return int(request.options[VARIATION_SEED]) if request.options[VARIATION_STRENGTH] else -1


def _progress(studio: Studio, jobs: Sequence[Job], sessions: Sessions, with_image: bool) -> dict[str, Any]:
    job = jobs[0] if jobs else None
    now = job.progress if job else None
    preview = studio.queue.preview(job.id) if job and with_image else None
    ending = sessions.ending(job.id) if job else None
    stopping = bool(job and job.cancel_requested)
    return {
        "progress": now.fraction if now else 0.0,
        "eta_relative": (now.eta_seconds or 0.0) if now else 0.0,
        "state": {
            "skipped": stopping and ending == "skip",
            "interrupted": stopping and ending != "skip",
            "stopping_generation": stopping,
            "job": job.id if job else "",
            "job_count": job.request.num_images if job else 0,
            "job_no": now.image - 1 if now else 0,
            "job_timestamp": job.created_at.strftime("%Y%m%d%H%M%S") if job else "0",
            "sampling_step": now.step if now else 0,
            "sampling_steps": now.steps if now else 0,
        },
        "current_image": _png_base64(preview) if preview else None,
        "textinfo": None,
    }


def _png_base64(preview: bytes) -> str:
    """Return a preview (WebP) as base64 of a PNG, which all clients read."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(preview)) as image:
        image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def problem(error: StudioError, status: int) -> Response:
    """Return the error in A1111's shape, in both languages."""
    words = f"{error.message('en')} / {error.message('zh')}"
    body = {"error": error.code, "detail": words, "body": "", "errors": words, "problem": described(error)}
    return Answer(body, status_code=status)
