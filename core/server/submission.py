"""Queue the job of a call and return its images, for all three APIs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio.to_thread
from fastapi import Request

from core.config.loader import Settings
from core.config.options import FIELDS, SCHEMA
from core.config.schema import AUTO
from core.errors import (
    Cancelled,
    OptionError,
    QueueFullError,
    RunError,
    StorageError,
    StudioError,
    UnknownModelError,
    UnknownOptionError,
)
from core.i18n import localize
from core.jobs.job_rows import ACTIVE
from core.server.job_marks import JobMarks, JobWatch
from core.studio import Studio
from core.types import GenerationRequest, InputSources, Job, JobState, SubmitOptions

SOURCE = "request"
CALLER_SECONDS = 0.1  # between two looks whether a caller still waits
LOOK_SECONDS = 1.0  # between two looks at a job that does not change: whether a worker can run it
CLIENT_HEADER = "X-Client-Id"
BROWSER_COOKIE = "zdarkroom_browser"
USER_HEADER = "X-Zdarkroom-User"  # set by the gate alone; what comes from outside is taken off there
ROLE_HEADER = "X-Zdarkroom-Role"  # of the user, set by the gate alone: admin or user
PRIVATE_HEADER = "X-Zdarkroom-Private"  # set by the gate alone, where there are users: each has own images and jobs
SIGN = "zdarkroom.sign"  # in the scope of a guarded call: makes an image's address that needs no key
REQUEST_KEYS = ("model.id", *FIELDS)


class WaitError(RunError):
    """The images were not finished in time."""


class StoppedError(RunError):
    """The job was cancelled while its caller waited."""


def client_of(request: Request) -> str:
    """Return who calls: the user if there are users, else a digest of X-Client-Id or of the address."""
    if user := request.headers.get(USER_HEADER):
        return f"user:{user}"
    name = request.headers.get(CLIENT_HEADER) or (request.client.host if request.client else "")
    return f"http:{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def submit(
    studio: Studio, values: Mapping[str, Any], terms: SubmitOptions, prompts: Sequence[Any] | None = None,
    sources: InputSources | None = None,
) -> Job:  # fmt: skip
    """Check the values against schema, model and limits, and queue them. Raises InputError for the first that fails.

    With `prompts` they are queued as one job, see `Studio.new_batch`.
    """
    check_total(studio)
    with studio.catalog.remembering():
        request = requested(studio, values, prompts, sources)
        return studio.queue.submit(request, terms, studio.settings.service.queue_per_client)


def requested(
    studio: Studio, values: Mapping[str, Any], prompts: Sequence[Any] | None = None, sources: InputSources | None = None
) -> GenerationRequest:
    """Return the request of the values, checked against schema, model and limits. Raises InputError for the first that fails."""
    named: dict[str, Any] = {}  # by key: an option has more names than one
    for key, value in values.items():
        option = SCHEMA.find(key, SOURCE)
        if option.key not in REQUEST_KEYS and option not in SCHEMA.request_options():
            raise UnknownOptionError(source=SOURCE, key=key, nearest="generation.prompt")
        named[option.key] = value
    SCHEMA.checked(values, SOURCE)  # two names of one option must agree
    check_model(studio, named.get("model.id", studio.settings.model.id))
    limits = studio.settings
    if prompts is not None and len(prompts) > limits.service.max_batch:  # before any row is read
        allowed = f"1 - {limits['service.max_batch']} (service.max_batch)"
        raise OptionError(source=SOURCE, key="prompts", value=len(prompts), allowed=allowed)
    if prompts is None:
        request = _over(studio, studio.requests.new(named, SOURCE), sources, named)
        check_count(studio, request.num_images)
        check_size(request, limits)
        return request
    most = limits.service.max_batch
    batch = studio.requests.new_batch(prompts, named, SOURCE, most, lambda single: check_size(single, limits))
    return _over(studio, batch, sources, named)


def _over(
    studio: Studio, request: GenerationRequest, sources: InputSources | None, values: Mapping[str, Any]
) -> GenerationRequest:
    return request if sources is None else studio.requests.with_inputs(request, sources, values)


class QueueTotalError(QueueFullError):
    """The queue holds the maximum number of jobs of all clients."""


def check_total(studio: Studio) -> None:
    """Raise QueueTotalError when the queue is full."""
    totals = studio.queue.totals()
    most = studio.settings.service.queue_total
    if sum(count for state, count in totals.items() if JobState(state).active) >= most:
        raise QueueTotalError(allowed=most)


def check_model(studio: Studio, model: object) -> None:
    """Raise UnknownModelError for a model that has no entry: a caller must not probe folders of this machine."""
    known = studio.catalog.ids()  # without a look at the disk: every call comes by here
    if model not in (*known, studio.settings.model.id):
        raise UnknownModelError(value=str(model)[:60], known=", ".join(known))


def check_count(studio: Studio, images: int) -> None:
    """Raise OptionError for more images than a caller may ask for at once."""
    bounded = replace(SCHEMA.options["generation.num_images"], maximum=studio.settings.service.max_images)
    bounded.check(images, f"{SOURCE}, service.max_images")


def check_size(request: GenerationRequest, limits: Settings) -> None:
    """Raise OptionError for more pixels or steps than a caller may ask for."""
    sizes = {
        "width x height": (request.width, request.height),
        "inpaint.render_width x inpaint.render_height": (
            request.options["inpaint.render_width"],
            request.options["inpaint.render_height"],
        ),
    }
    for key, (width, height) in sizes.items():
        if AUTO not in (width, height) and width * height > limits.service.max_pixels:
            allowed = localize(
                "server.submission.px_in_all_service_max_pixels", service_max_pixels=limits.service.max_pixels
            )
            raise OptionError(source=SOURCE, key=key, value=f"{width}x{height}", allowed=allowed)
    most, second = limits.service.max_steps, request.options["hires.steps"]
    for key, steps in (("num_inference_steps", request.num_inference_steps), ("hires.steps", second)):
        if steps != AUTO and steps > most:
            raise OptionError(source=SOURCE, key=key, value=steps, allowed=f"1 - {most} (service.max_steps)")


async def watch(studio: Studio, job: Job, request: Request, to_its_end: bool = False) -> AsyncIterator[Job]:
    """Yield the job as it is, then at each change, or once it has ended: its last state included.

    While the database is away the job goes on, and so does the waiting. The job is cancelled when the caller has gone
    (Cancelled), when `service.wait_seconds` are over (WaitError), and when no worker can run it (the worker's error).
    """
    marks: JobMarks = request.app.state.job_marks
    began = time.monotonic()
    with marks.following(studio, job.id) as followed:
        while job.state.active:
            yield job
            await _news(studio, job, request, began, followed, to_its_end)
            try:
                job = await anyio.to_thread.run_sync(_look, studio, job)
            except StorageError as error:
                if not error.temporary:
                    raise
    yield job


async def _news(
    studio: Studio, job: Job, request: Request, began: float, followed: JobWatch, to_its_end: bool
) -> None:  # fmt: skip
    """Wait for a change or for the end of the job, at most LOOK_SECONDS, while its caller does. Raises as `watch` does."""
    until = asked = time.monotonic()
    until += LOOK_SECONDS
    while time.monotonic() < until:
        changed = await followed.changed(CALLER_SECONDS)
        if changed and not (to_its_end and followed.state in ACTIVE):
            return
        if time.monotonic() - asked >= CALLER_SECONDS:
            await _demand_caller(studio, job, request, began)
            asked = time.monotonic()


async def _demand_caller(studio: Studio, job: Job, request: Request, began: float) -> None:
    """Cancel the job and raise, Cancelled or WaitError, when its caller has gone or has waited as long as one may."""
    seconds = studio.settings.service.wait_seconds
    gone = await request.is_disconnected()
    if gone or time.monotonic() - began > seconds:
        await anyio.to_thread.run_sync(studio.queue.cancel, job.id)
        raise Cancelled if gone else WaitError(seconds=seconds)


def _look(studio: Studio, job: Job) -> Job:
    """Return the job as it is now. A waiting one is cancelled when no worker can run it; raises the worker's error then."""
    if job.state is JobState.QUEUED and (trouble := studio.worker.status().trouble):
        studio.queue.cancel(job.id)
        raise trouble
    return studio.queue.get(job.id)


async def ended(studio: Studio, job: Job, request: Request) -> Job:
    """Wait for the job and return it in its last state, whichever that is. Raises as `watch` does."""
    async for seen in watch(studio, job, request, to_its_end=True):
        job = seen
    return job


def demand_images(job: Job) -> Job:
    """Return a job that is done. Raises its error, or StoppedError when it was cancelled."""
    if job.state is JobState.FAILED:
        raise job.error or StudioError(detail=f"job {job.id} failed")
    if job.state is JobState.CANCELLED:
        raise StoppedError(job=job.id)
    return job


def digest(values: object) -> str:
    """Return the digest that an idempotency key is compared by."""
    return hashlib.sha256(ascii(values).encode()).hexdigest()
