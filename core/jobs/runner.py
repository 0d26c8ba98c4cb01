"""Run one job from claim to end: generate, save, record the result."""

from __future__ import annotations

import itertools
import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from PIL.Image import Image

from core.errors import Cancelled, InputImageError, NotFoundError, StorageError, StudioError
from core.history.store import History
from core.history.sweeps import SweepStore
from core.i18n import localize
from core.jobs.eta import EtaEstimator
from core.jobs.generator_protocol import LazyGenerator, WorkerLost, as_studio_error, device_fault
from core.jobs.queue import JobQueue
from core.jobs.worker_main import RETRY_SECONDS
from core.storage.database import Database
from core.storage.files import Files
from core.storage.input_images import InputImages
from core.types import GeneratedImage, GenerationRequest, Job, JobState, Phase, Progress, ResumeState

_GONE = localize("jobs.runner.gone")

log = logging.getLogger(__name__)


class JobRunner:
    """Run jobs under one worker's id, each in one thread; `stopping` ends them after a step.

    An interrupted job is resumed: only the images that the history lacks are generated. `say` is called with "loading"
    or "busy" at each report. After `device_failed` this process can't generate any more.
    """

    def __init__(
        self,
        worker_id: str,
        database: Database,
        place: Files | Path,
        generator: LazyGenerator,
        say: Callable[[str], None],
        stopping: threading.Event,
    ) -> None:
        self._id = worker_id
        self._queue = JobQueue(database, worker_id)
        self._history = History(database, place)
        self._sheets = SweepStore(database, place)
        self._inputs = InputImages(place)
        self._generator = generator
        self._say = say
        self._stopping = stopping
        self.device_failed = False

    def run_next(self) -> tuple[Job, JobState] | None:
        """Claim the next job and run it to its end; return it and its final state. None when no job waits."""
        job = self.claim()
        return (job, self.run(job)) if job is not None else None

    def claim(self) -> Job | None:
        """Claim the next job; the caller runs it."""
        return self._queue.claim(self._id)

    def import_orphans(self) -> None:
        """Import images without a row, left by a worker that was killed, so that they are not generated twice."""
        try:
            self._history.sweep()
        except StorageError:
            log.exception("pictures without rows could not be looked for")

    def render_sweep_grids(self) -> None:
        """Render the contact sheets of finished sweeps. A failure fails no job: the page renders the sheet then."""
        try:
            self._sheets.draw_ended()
        except StorageError:
            log.exception("a contact sheet could not be drawn")

    # -- one job ---------------------------------------------------------------------------------------------------

    def run(self, job: Job) -> JobState:
        """Run a claimed job and return its final state; queued means that it will be resumed."""
        began = time.monotonic()
        log.info("job %s: begins, model %s", job.id, job.request.model)
        try:
            state, error = self._attempt(job)
            self._settle(job.id, state, error)
        except WorkerLost as lost:
            reason = lost.reason
            self._write(job.id, lambda: self._queue.abandon(self._id, reason, job.id))
            state = self._queue.get(job.id).state
        self.render_sweep_grids()
        log.info("job %s: %s after %.2f s", job.id, state, time.monotonic() - began)
        return state

    def _attempt(self, job: Job) -> tuple[JobState, StudioError | None]:
        """Generate the missing images, and turn whatever is raised into a state and an error. Raises WorkerLost."""
        try:
            self._generate(job)
        except Cancelled:
            return (JobState.CANCELLED if self._queue.is_cancel_requested(job.id) else JobState.QUEUED), None
        except WorkerLost:
            raise
        except Exception as problem:
            log.error("job %s failed\n%s", job.id, without_prompts(traceback.format_exc(), job.request))
            fault = device_fault(problem)
            if fault:
                self.device_failed = True
                raise WorkerLost(fault) from problem
            loaded = self._generator.loaded
            return JobState.FAILED, as_studio_error(problem, job.request, (loaded and loaded.device) or "cpu")
        return JobState.DONE, None

    def _generate(self, job: Job) -> None:
        request = job.request
        made = self._history.places_of(job.id)
        if len(made) >= request.num_images:
            self._report(job.id, Progress(Phase.SAVE, image=request.num_images, images=request.num_images))
            return
        pace = EtaEstimator(request, made, self._history.seconds_of_past)
        kept = itertools.count(len(made) + 1)
        self._generator.ready().generate(
            request,
            lambda progress: self._report(job.id, replace(progress, eta_seconds=pace.left(progress))),
            lambda: self._is_stopped(job.id),
            lambda image: self._save(job, image, pace, next(kept)),
            ResumeState(job.id, made, self._read_inputs(request)),
        )

    def _read_inputs(self, request: GenerationRequest) -> Mapping[str, Image]:
        """Return the input images by role. InputPictureError for one that was deleted since the job was queued."""
        try:
            return {role: self._inputs.read(digest) for role, digest in request.inputs.items()}
        except NotFoundError as error:
            raise InputImageError(file=error.values["value"], detail=_GONE) from error

    def _report(self, job_id: str, progress: Progress) -> None:
        self._queue.report(job_id, progress)
        self._say("loading" if progress.phase is Phase.LOADING else "busy")

    def _is_stopped(self, job_id: str) -> bool:
        return self._stopping.is_set() or self._queue.is_stop_requested(job_id)

    def _save(self, job: Job, generated: GeneratedImage, pace: EtaEstimator, image: int) -> None:
        """Save an image, the job's `image`th, as soon as it is made, unless the job was cancelled meanwhile."""
        if self._queue.is_cancel_requested(job.id):
            raise Cancelled
        steps, images = generated.request.num_inference_steps, job.request.num_images
        self._report(job.id, Progress(Phase.SAVE, steps, steps, image, images))
        self._history.add(generated, job.id)
        pace.learn(generated)

    def _settle(self, job_id: str, state: JobState, error: StudioError | None) -> None:
        if state is JobState.QUEUED:
            self._write(job_id, lambda: self._queue.requeue(job_id))
        else:
            self._write(job_id, lambda: self._queue.finish(job_id, state, error))

    def _write(self, job_id: str, end: Callable[[], object]) -> None:
        """Write how a job ended, and retry while the database can't: a job must not stay running for ever."""
        while True:
            try:
                end()
                return
            except StorageError:
                log.exception("job %s: the end could not be written", job_id)
                if self._stopping.wait(RETRY_SECONDS):
                    return


def without_prompts(text: str, request: GenerationRequest) -> str:
    """Return `text` without prompts, for the log; libraries quote them in their errors."""
    parts = {
        text
        for single in request.per_image_requests()
        for text in (single.prompt, single.template, single.negative_prompt)
    }
    for prompt in sorted(parts, key=len, reverse=True):
        for form in (prompt, repr(prompt)[1:-1]):
            text = text.replace(form, "[prompt]") if form.strip() else text
    return text
