"""The course of one job in whatever process makes its pictures: claimed, generated, saved, settled."""

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
from core.jobs.retry_loop import RETRY_SECONDS
from core.storage.database import Database
from core.storage.files import Files
from core.storage.input_images import InputImages
from core.types import GeneratedImage, GenerationRequest, Job, JobState, Phase, Progress, ResumeState

_GONE = localize("jobs.runner.gone")

log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs of the queue under one worker's id, each in one thread; `stopping` ends them after a step.

    A job that was interrupted before is gone on with: of its pictures only those that the history lacks are made.
    `say` is told "loading" or "busy" with each report. After `device_failed` this process can draw no more.
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
        """Claim the job whose turn it is and run it to its end; it, and how it ended. None when no job waits."""
        job = self.claim()
        return (job, self.run(job)) if job is not None else None

    def claim(self) -> Job | None:
        """Take the job whose turn it is; who takes it runs it."""
        return self._queue.claim(self._id)

    def import_orphans(self) -> None:
        """A worker that was killed may have left a picture without its row: it must not be made twice."""
        try:
            self._history.sweep()
        except StorageError:
            log.exception("pictures without rows could not be looked for")

    def render_sweep_grids(self) -> None:
        """Contact sheets of the sweeps that have ended. No job fails for want of one: its page draws it, then."""
        try:
            self._sheets.draw_ended()
        except StorageError:
            log.exception("a contact sheet could not be drawn")

    # -- one job ---------------------------------------------------------------------------------------------------

    def run(self, job: Job) -> JobState:
        """How a job that was claimed ended; queued means that it is to be gone on with."""
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
        """Generate what the job lacks, and turn whatever is raised into a state and an error. Raises WorkerLost."""
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
        """The input pictures by role; InputPictureError for one that is gone since the job was queued."""
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
        """Keep a picture, the job's `image`th, the moment it is made, unless the user has asked to stop meanwhile."""
        if self._queue.is_cancel_requested(job.id):
            raise Cancelled
        steps, images = generated.request.num_inference_steps, job.request.num_images
        self._report(job.id, Progress(Phase.SAVE, steps, steps, image, images))
        self._history.add(generated, job.id)
        pace.learn(generated)

    def _settle(self, job_id: str, state: JobState, error: StudioError | None) -> None:
        if state is JobState.QUEUED:
            self._write(job_id, lambda: self._queue.give_back(job_id))
        else:
            self._write(job_id, lambda: self._queue.finish(job_id, state, error))

    def _write(self, job_id: str, end: Callable[[], object]) -> None:
        """Write how a job ended, and keep trying while the disk is full: a job must not stay running for ever."""
        while True:
            try:
                end()
                return
            except StorageError:
                log.exception("job %s: the end could not be written", job_id)
                if self._stopping.wait(RETRY_SECONDS):
                    return


def without_prompts(text: str, request: GenerationRequest) -> str:
    """`text` fit for the log: what people write is theirs, also where a library quotes it in its error."""
    parts = {
        text
        for single in request.per_image_requests()
        for text in (single.prompt, single.template, single.negative_prompt)
    }
    for prompt in sorted(parts, key=len, reverse=True):
        for form in (prompt, repr(prompt)[1:-1]):
            text = text.replace(form, "[prompt]") if form.strip() else text
    return text
