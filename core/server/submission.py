"""Queue the job of a call and return its images, for all three APIs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio
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
from core.studio import Studio
from core.types import GenerationRequest, InputSources, Job, JobState, SubmitOptions

SOURCE = "request"
POLL_SECONDS = 0.1
QUICK_POLL_SECONDS = 0.01  # of a database in a file, whether anything was written
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


async def watch(studio: Studio, job: Job, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[Job]:
    """Yield the job at each change, and ten times a second, until it has ended, its last state included.

    While the database is away the job goes on, and so does the waiting. The job is cancelled when the caller has gone
    (Cancelled), when `service.wait_seconds` are over (WaitError), and when no worker can run it (the worker's error).
    """
    seconds = studio.settings.service.wait_seconds
    deadline = time.monotonic() + seconds
    mark: object = None
    while job.state.active:
        yield job
        if await gone():
            await anyio.to_thread.run_sync(studio.queue.cancel, job.id)
            raise Cancelled
        if time.monotonic() > deadline:
            await anyio.to_thread.run_sync(studio.queue.cancel, job.id)
            raise WaitError(seconds=seconds)
        mark = await changed(studio, mark)
        try:
            job = await anyio.to_thread.run_sync(_look, studio, job)
        except StorageError as error:
            if not error.temporary:
                raise
    yield job


async def changed(studio: Studio, mark: object) -> object:
    """Wait until something is written to the database since `mark`, at most POLL_SECONDS; return the mark of now.

    A database server is not asked in between.
    """
    if studio.queue.is_shared:
        await anyio.sleep(POLL_SECONDS)
        return None
    until = time.monotonic() + POLL_SECONDS
    while (now := studio.queue.change_mark()) == mark and time.monotonic() < until:
        await anyio.sleep(QUICK_POLL_SECONDS)
    return now


def _look(studio: Studio, job: Job) -> Job:
    """Return the job as it is now. A waiting one is cancelled when no worker can run it; raises the worker's error then."""
    if job.state is JobState.QUEUED and (trouble := studio.worker.status().trouble):
        studio.queue.cancel(job.id)
        raise trouble
    return studio.queue.get(job.id)


async def ended(studio: Studio, job: Job, request: Request) -> Job:
    """Wait for the job and return it in its last state, whichever that is. Raises as `watch` does."""
    async for seen in watch(studio, job, request.is_disconnected):
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
