"""Generate on another studio, with the same contract as the local generator.

Each job is one job there, a batch one for each of its images, under an idempotency key made of the job's id:
whatever dies in between, the same job finds the same remote job again, and no image is made twice. Images travel as PNG,
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import urlsplit

from PIL import Image

from core.config.loader import variable_of
from core.errors import Cancelled, ImageTooLargeError, NoServerError, ServerRefusedError, StudioError
from core.i18n import localize
from core.remote.client import Remote, RemoteJob, RetryDeadline
from core.storage.image_containers import decoding
from core.types import (
    FIRST_ATTEMPT,
    SET_FIELDS,
    Capability,
    Decision,
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    JobState,
    Phase,
    Progress,
    ResumeState,
)

SERVER = "remote.url"
TOKEN = "remote.token"
POLL_SECONDS = 0.2
AWAY_SECONDS = 120.0  # a studio that restarts is waited for this long
SIGN_SECONDS = 5.0  # while a job waits its turn there, the status is reported again this often

OnProgress = Callable[[Progress], None]
OnImage = Callable[[GeneratedImage], None]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RemoteModel:
    """Stands for the loaded model, which is in the memory of the remote studio."""

    model: str
    device: str
    decisions: tuple[Decision, ...]
    versions: Mapping[str, str]
    load_seconds: float = 0.0
    asked: Mapping[str, Any] = field(default_factory=dict)
    effective: Mapping[str, Any] = field(default_factory=dict)
    capabilities: tuple[Capability, ...] = ()  # what can be used there is for the other studio to say


@dataclass
class _JobProgress:
    """What was last reported of one job."""

    reported: Progress | None = None
    when: float = 0.0
    seen: tuple[int, int] = (0, 0)  # image and step of the preview that was fetched last
    delivered: set[str] = field(default_factory=set)


class RemoteGenerator:
    """A generator over the studio that `values` (settings by schema key) name."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._remote = Remote(values[SERVER], values[TOKEN], variable_of(TOKEN))
        self._loaded: RemoteModel | None = None

    @property
    def loaded(self) -> RemoteModel | None:
        """Return the model of the last request."""
        return self._loaded

    def load(
        self,
        model: str,
        options: Mapping[str, Any],
        on_progress: OnProgress,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> RemoteModel:
        """Ask whether the studio is there and of this version; what it loads and when is its own affair."""
        if self._loaded is not None and self._loaded.model == model:
            return self._loaded
        on_progress(Progress(Phase.LOADING, detail=model))
        version = str(self._remote.capabilities()["version"])
        self._loaded = RemoteModel(
            model, urlsplit(self._remote.address).netloc, (self._decision(),), {"server": f"Z Darkroom {version}"}
        )
        return self._loaded

    def generate(
        self,
        request: GenerationRequest,
        on_progress: OnProgress,
        is_cancelled: Callable[[], bool],
        on_image: OnImage,
        attempt: ResumeState = FIRST_ATTEMPT,
    ) -> GenerationResult:
        """Generate all images that are not made already, and pass each to `on_image`.

        Raises Cancelled soon after `is_cancelled()` turns true, what ended the job there, or a ServerError.
        """
        self._loaded = None  # each job asks anew: the studio there may be another one by now
        self.load(request.model, request.options, on_progress)
        there = replace(request, inputs=self._send_inputs(attempt.inputs, is_cancelled))
        for remote_request in remote_requests_of(request, there, attempt.job_id):
            if not set(remote_request.places.values()) <= set(attempt.made):
                self._generate(remote_request, on_progress, is_cancelled, on_image, attempt.made)
        return GenerationResult(())

    def _generate(
        self,
        remote_request: RemoteRequest,
        on_progress: OnProgress,
        is_cancelled: Callable[[], bool],
        on_image: OnImage,
        made: Collection[int],
    ) -> None:
        """Carry out one remote request, from its submission to its last image."""
        patience, course = RetryDeadline(AWAY_SECONDS), _JobProgress()
        now = self._attach(remote_request, is_cancelled, patience)
        try:
            while True:
                self._deliver(now, remote_request, set(made), course, on_image, is_cancelled, patience)
                if not now.job.state.active:
                    return self._check_end(now)
                self._tell(now, remote_request, course, on_progress)
                now = self._ask(partial(self._remote.look, now.job.id), is_cancelled, patience, POLL_SECONDS)
        except Cancelled:
            self._call_off(now.job.id)
            raise

    def _send_inputs(self, inputs: Mapping[str, Image.Image], is_cancelled: Callable[[], bool]) -> dict[str, str]:
        """Return the input images, stored there: role -> digest."""
        digests = {}
        for role, image in inputs.items():
            buffer = BytesIO()
            image.save(buffer, "PNG", compress_level=4)
            call = partial(self._remote.keep_input, buffer.getvalue())
            digests[role] = self._ask(call, is_cancelled, RetryDeadline(AWAY_SECONDS))
        return digests

    # -- the job there ---------------------------------------------------------------------------------------------

    def _attach(self, remote_request: RemoteRequest, is_cancelled: Callable[[], bool], patience: RetryDeadline) -> RemoteJob:
        """Return the job there: a new one, or the one that an earlier attempt left there, running again."""
        now = self._ask(partial(self._remote.submit, values_of(remote_request.there), remote_request.key), is_cancelled, patience)
        while now.job.state.active and now.job.cancel_requested:  # called off by that attempt, and not ended yet
            now = self._ask(partial(self._remote.look, now.job.id), is_cancelled, patience, POLL_SECONDS)
        if now.job.state in (JobState.FAILED, JobState.CANCELLED):
            now = self._ask(partial(self._remote.retry, now.job.id), is_cancelled, patience)
        return now

    def _ask(
        self,
        call: Callable[[], Answer],
        is_cancelled: Callable[[], bool],
        patience: RetryDeadline,
        pause: float = 0.0,
    ) -> Answer:
        """Return one call, after a pause, again while the studio is away. Raises Cancelled."""
        while True:
            time.sleep(pause)
            if is_cancelled():
                raise Cancelled
            try:
                answer = call()
            except NoServerError as error:
                patience.spend(error)
                pause = 1.0
                continue
            patience.good()
            return answer

    def _call_off(self, job_id: str) -> None:
        """Cancel the job there; when it can't be reached the job continues there, and the next attempt finds it."""
        try:
            self._remote.cancel(job_id)
        except StudioError:
            return

    def _check_end(self, now: RemoteJob) -> None:
        if now.job.state is JobState.FAILED:
            raise now.job.error or StudioError(detail=f"{self._remote.address}: {now.job.state}")
        if now.job.state is JobState.CANCELLED:
            reason = localize("remote.generator.the_job_was_cancelled_there")
            raise ServerRefusedError(server=self._remote.address, reason=reason)

    # -- what comes back -------------------------------------------------------------------------------------------

    def _tell(self, now: RemoteJob, remote_request: RemoteRequest, course: _JobProgress, on_progress: OnProgress) -> None:
        """Hand on where the job is when that has changed, with a preview, and a sign of life now and then."""
        progress = now.job.progress
        if now.job.state is JobState.QUEUED or progress is None:
            progress = Progress(Phase.LOADING, detail=f"{self._remote.address} #{now.job.position or 0}")
        progress = replace(progress, image=remote_request.before + progress.image, images=remote_request.images)
        moved = progress != course.reported
        if not moved and time.monotonic() - course.when < SIGN_SECONDS:
            return
        course.reported, course.when = progress, time.monotonic()
        seen = (progress.image, progress.preview_step)
        if progress.preview_step and seen != course.seen:
            course.seen = seen
            progress = replace(progress, preview=self._preview(now.job.id))
        on_progress(progress)

    def _preview(self, job_id: str) -> bytes | None:
        try:
            return self._remote.preview(job_id)
        except StudioError:  # an image is worth more than its preview
            return None

    def _deliver(
        self,
        now: RemoteJob,
        remote_request: RemoteRequest,
        made: Collection[int],
        course: _JobProgress,
        on_image: OnImage,
        is_cancelled: Callable[[], bool],
        patience: RetryDeadline,
    ) -> None:
        """Fetch the images that are new there and not here."""
        for image_id in now.images:
            if image_id in course.delivered:
                continue
            image = self._fetch(image_id, remote_request, made, is_cancelled, patience)
            course.delivered.add(image_id)
            if image is not None:
                on_image(image)

    def _fetch(
        self,
        image_id: str,
        remote_request: RemoteRequest,
        made: Collection[int],
        is_cancelled: Callable[[], bool],
        patience: RetryDeadline,
    ) -> GeneratedImage | None:
        while True:
            if is_cancelled():
                raise Cancelled
            try:
                record = self._remote.record(image_id)
                place = remote_request.places.get(record.seed)
                if place is None or place in made:
                    return None
                data = self._remote.image(image_id)
            except NoServerError as error:
                patience.spend(error)
                time.sleep(1.0)
                continue
            patience.good()
            return GeneratedImage(
                image=_decoded(data, self._remote.address),
                request=remote_request.per_image_requests[record.seed],
                place=place,
                rendered_size=record.rendered_size,
                timings=record.timings,
                effective={**record.effective, SERVER: self._remote.address},
                decisions=(*record.decisions, self._decision()),
                peak_memory_bytes=record.peak_memory_bytes,
            )

    def _decision(self) -> Decision:
        server = self._remote.address
        reason = localize("remote.generator.generated_by_another_studio")
        return Decision(SERVER, server, server, reason)


def _decoded(data: bytes, address: str) -> Image.Image:
    try:
        with decoding(BytesIO(data), address) as image:
            image.load()
            return image.convert("RGB") if image.mode not in ("RGB", "RGBA", "L") else image.copy()
    except (ImageTooLargeError, OSError, ValueError, Image.DecompressionBombError) as error:
        reason = localize("remote.generator.it_sent_no_image", error=error)
        raise ServerRefusedError(server=address, reason=reason) from error


@dataclass(frozen=True)
class RemoteRequest:
    """One call to the remote studio. Its images are identified by their seeds."""

    request: GenerationRequest
    there: GenerationRequest  # the same, with its input images as they are called there
    key: str
    before: int  # how many images of the job come before it
    images: int  # of the job

    @property
    def per_image_requests(self) -> Mapping[int, GenerationRequest]:
        """Return the request of each image by its seed."""
        return {single.seed: single for single in self.request.per_image_requests()}

    @property
    def places(self) -> Mapping[int, int]:
        """Return the index of each image in the job, from 1, by its seed."""
        return {seed: self.before + k for k, seed in enumerate(self.per_image_requests, start=1)}


def remote_requests_of(request: GenerationRequest, there: GenerationRequest, job_id: str) -> list[RemoteRequest]:
    """Return one remote request, or one for each image of a batch with different prompts or sizes."""
    if not request.images:
        return [RemoteRequest(request, there, f"zdarkroom-{job_id}", 0, request.num_images)]
    pairs = list(zip(request.per_image_requests(), there.per_image_requests(), strict=True))
    return [RemoteRequest(*pair, f"zdarkroom-{job_id}-{k + 1}", k, len(pairs)) for k, pair in enumerate(pairs)]


def values_of(request: GenerationRequest) -> dict[str, Any]:
    """Return the request as the API takes it; the file is transferred as PNG and converted to the wanted format here."""
    values: dict[str, Any] = {f"generation.{name}": getattr(request, name) for name in SET_FIELDS}
    inputs = {"inputs": dict(request.inputs)} if request.inputs else {}
    return {**request.options, **values, **inputs, "model.id": request.model, "output.format": "png"}
