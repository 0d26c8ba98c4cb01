"""Run one job from claim to end: generate, save, estimate the remaining time, record the result, log it."""

from __future__ import annotations

import io
import itertools
import logging
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from PIL.Image import Image

from core.errors import Cancelled, InputImageError, NotFoundError, StorageError, StudioError, WorkerDiedError
from core.history import used_files
from core.history.store import History, PendingImages
from core.history.sweeps import SweepStore
from core.i18n import localize
from core.jobs.generator_protocol import LazyGenerator, WorkerLost, as_studio_error, device_fault
from core.jobs.job_trace import EtaEstimator, JobLog, JobTrace
from core.jobs.queue import JobQueue
from core.jobs.worker_process import RETRY_SECONDS
from core.storage.database import Database
from core.storage.files import Files, files_of
from core.storage.input_images import InputImages
from core.types import Decision, GeneratedImage, GenerationRequest, Job, JobState, Phase, Progress, ResumeState

_GONE = localize("jobs.runner.gone")
_OPTIONS = {  # kind of file -> the option that names it
    used_files.MODEL: "model.id",
    used_files.LORA: "lora.use", used_files.EMBEDDING: "generation.prompt", used_files.CONTROLNET: "controlnet.units",
    used_files.PREPROCESSOR: "controlnet.preprocessor", used_files.UPSCALER: "hires.upscaler",
}  # fmt: skip

KEPT_STATES = "resume.interval"  # how many steps a crash may cost
STATES = "states"  # folder on this machine: the states of images that were stopped between two steps, by job

MAX_WAIT_SECONDS = 24 * 3600.0  # for a database or an object store that is away, from one error on
MAX_PAUSE_SECONDS = 10.0  # between two tries
FRESH_SECONDS = 0.02  # an answer of the database is taken for the present one
MAX_PENDING = 100  # finished images of a job that are kept here; generation waits beyond that

_T = TypeVar("_T")

log = logging.getLogger(__name__)


class JobRunner:
    """Run jobs under one worker's id, each in one thread; `stopping` ends them after a step.

    An interrupted job is resumed: only the images that the history lacks are generated. `say` is called with "loading"
    or "busy" at each report. After `device_failed` this process can't generate any more.

    While the database or the object store is away, generation goes on: finished images are kept on this machine and
    written when it is back, and the job ends after that. `Job.error` says what it waits for.
    """

    def __init__(
        self,
        worker_id: str,
        database: Database,
        place: Files | Path,
        generator: LazyGenerator,
        say: Callable[[str], None],
        stopping: threading.Event,
        job_log: JobLog | None = None,
        yields: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open queue, history and states. A job is also stopped, to be continued later, when `yields` says so."""
        self._id = worker_id
        self._queue = JobQueue(database, worker_id)
        self._history = History(database, place)
        self._pending = PendingImages(files_of(place).local)
        self._states = files_of(place).local / STATES
        self._sheets = SweepStore(database, place)
        self._inputs = InputImages(place)
        self._generator = generator
        self._say = say
        self._stopping = stopping
        self._running: dict[str, JobTrace] = {}  # claimed jobs, by id
        self._claim_unanswered = False
        self._told = ("", False, 0.0)  # by the last report: job, whether it is to stop, and when
        self._job_log = job_log
        self._yields = yields
        self.device_failed = False

    def run_next(self) -> tuple[Job, JobState] | None:
        """Claim the next job and run it to its end; return it and its final state. None when no job waits."""
        job = self.claim()
        return (job, self.run(job)) if job is not None else None

    def claim(self) -> Job | None:
        """Claim the next job; the caller runs it."""
        self._claim_unanswered = True
        job = self._queue.claim(self._id, self._running)
        self._claim_unanswered = False
        if job is not None:
            self._running[job.id] = JobTrace(job)
        return job

    def has_waiting(self) -> bool:
        """Return True if `claim` would return a job, also one whose claim the database committed but did not answer."""
        return self._claim_unanswered or self._queue.has_waiting()

    def import_orphans(self) -> None:
        """Import images without a row, left by a worker that was killed, so that they are not generated twice."""
        try:
            self._history.reconcile()
        except StorageError:
            log.exception("images without rows could not be imported")
        self._commit_leftovers()
        for folder in self._states.glob("*") if self._states.is_dir() else ():
            if not self._is_active(folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def _is_active(self, job_id: str) -> bool:
        try:
            return self._queue.get(job_id).state.active
        except NotFoundError:
            return False

    def render_sweep_grids(self) -> None:
        """Render the contact sheets of finished sweeps. A failure fails no job: the page renders the sheet then."""
        try:
            self._sheets.render_ended()
        except StorageError:
            log.exception("a contact sheet could not be rendered")

    def draft(self, request: GenerationRequest, say: Callable[[Progress], None], is_stopped: Callable[[], bool]) -> bytes:
        """Return the image of a request as WebP. It is no job: nothing is stored. Raises Cancelled and StudioError."""
        images: list[GeneratedImage] = []
        try:
            inputs = ResumeState(inputs=self._read_inputs(request))
            self._generator.ready().generate(request, say, is_stopped, images.append, inputs)
        except (Cancelled, StudioError):
            raise
        except Exception as problem:
            log.error("a draft failed\n%s", without_prompts(traceback.format_exc(), request))
            self.device_failed = bool(device_fault(problem))
            loaded = self._generator.loaded
            raise as_studio_error(problem, request, (loaded and loaded.device) or "cpu") from problem
        buffer = io.BytesIO()
        images[0].image.save(buffer, "WEBP", quality=80, method=0)
        return buffer.getvalue()

    # -- one job ---------------------------------------------------------------------------------------------------

    def run(self, job: Job) -> JobState:
        """Run a claimed job and return its final state; queued means that it will be resumed."""
        began = time.monotonic()
        log.info("job %s: begins, model %s", job.id, job.request.model)
        trace = self._running.get(job.id) or self._running.setdefault(job.id, JobTrace(job))
        try:
            state, error = self._run(job)
        finally:
            del self._running[job.id]
        trace.end(state, error)
        if self._job_log is not None:
            self._job_log.write(job, state, error, time.monotonic() - began)
        if state is not JobState.QUEUED:
            shutil.rmtree(self._states / job.id, ignore_errors=True)
        self._commit_leftovers()
        self.render_sweep_grids()
        log.info("job %s: %s after %.2f s", job.id, state, time.monotonic() - began)
        return state

    def _run(self, job: Job) -> tuple[JobState, StudioError | None]:
        try:
            state, error = self._attempt(job)
            self._settle(job.id, state, error)
        except WorkerLost as lost:
            reason = lost.reason
            self._write(job.id, lambda: self._queue.abandon(self._id, reason, job.id))
            state, error = JobState.QUEUED, WorkerDiedError(detail=reason)
        return state, error

    def _attempt(self, job: Job) -> tuple[JobState, StudioError | None]:
        """Generate the missing images, and turn whatever is raised into a state and an error. Raises WorkerLost."""
        try:
            self._generate(job)
            self._wait_for_pending(job)
        except Cancelled:
            return self._state_of_stopped(job), None
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

    def _state_of_stopped(self, job: Job) -> JobState:
        """Return cancelled, or queued for a job that was paused or whose worker ends."""
        try:
            cancelled = self._patiently(job, lambda: self._queue.is_cancel_requested(job.id))
        except Cancelled:
            return JobState.QUEUED
        return JobState.CANCELLED if cancelled else JobState.QUEUED

    def _generate(self, job: Job) -> None:
        request = job.request
        stored = self._patiently(job, lambda: self._history.places_of(job.id))
        made = stored | self._pending.places_of(job.id)
        if len(made) >= request.num_images:
            self._report(job.id, Progress(Phase.SAVE, image=request.num_images, images=request.num_images))
            return
        eta = self._patiently(job, lambda: EtaEstimator(request, made, self._history.seconds_of_past))
        inputs = self._patiently(job, lambda: self._read_inputs(request))
        begun = self._patiently(job, lambda: self._begun_with(job))
        kept = itertools.count(len(made) + 1)
        with ImageSaver(job.id) as saver:
            self._generator.ready().generate(
                request,
                lambda progress: self._report(job.id, replace(progress, eta_seconds=eta.left(progress))),
                lambda: self._is_stopped(job.id),
                lambda image: self._save(job, _with_upgrade(image, begun), eta, next(kept), saver),
                ResumeState(job.id, made, inputs, self._states / job.id),
            )

    def _begun_with(self, job: Job) -> Mapping[str, Any]:
        """Return what was in effect for the first image of a resumed job; nothing for a job that begins."""
        if not job.image_ids:
            return {}
        try:
            return self._history.get(job.image_ids[0]).effective
        except NotFoundError:  # deleted meanwhile
            return {}

    def _read_inputs(self, request: GenerationRequest) -> Mapping[str, Image]:
        """Return the input images by role. InputImageError for one that was deleted since the job was queued."""
        try:
            return {role: self._inputs.read(digest) for role, digest in request.inputs.items()}
        except NotFoundError as error:
            raise InputImageError(file=error.values["value"], detail=_GONE) from error

    def _report(self, job_id: str, progress: Progress, waits_for: StorageError | None = None) -> None:
        """Store a job's progress. A database that is away costs the report, not the job."""
        if waits_for is None:
            self._running[job_id].enter(progress.phase)
        try:
            stopped = self._queue.report(job_id, progress, waits_for)
            self._told = (job_id, stopped, time.monotonic())
        except StorageError as error:
            if not error.temporary:
                raise
            log.warning("job %s: progress not written: %s", job_id, error)
        self._say("loading" if progress.phase is Phase.LOADING else "busy")

    def _is_stopped(self, job_id: str) -> bool:
        """Return True if the job is to end. Right after a report, which says so too, the database is not asked again."""
        if self._stopping.is_set() or self._yields():
            return True
        told_of, stopped, at = self._told
        if told_of == job_id and time.monotonic() - at < FRESH_SECONDS:
            return stopped
        return self._asked(lambda: self._queue.is_stop_requested(job_id))

    def _asked(self, look: Callable[[], bool]) -> bool:
        """Return what the database says; False while it is away."""
        try:
            return look()
        except StorageError as error:
            if not error.temporary:
                raise
            return False

    def _save(self, job: Job, generated: GeneratedImage, eta: EtaEstimator, image: int, saver: ImageSaver) -> None:
        """Have an image saved, the job's `image`th, as soon as it is made, unless the job was cancelled meanwhile.

        It is encoded and written while the next one is generated, unless a crash may cost fewer steps than an image has.
        """
        if self._asked(lambda: self._queue.is_cancel_requested(job.id)):
            raise Cancelled
        steps, images = generated.request.num_inference_steps, job.request.num_images
        progress = Progress(Phase.SAVE, steps, steps, image, images)
        self._report(job.id, progress)
        write = self._running[job.id].saving()(self._write_image)
        saver.put(lambda: write(job, generated, progress))
        if generated.request.options.get(KEPT_STATES):
            saver.wait()  # the image's state is removed when this returns
        if len(self._pending.places_of(job.id)) >= MAX_PENDING:
            saver.wait()
            self._wait_for_pending(job)
        eta.learn(generated)

    def _write_image(self, job: Job, generated: GeneratedImage, progress: Progress) -> None:
        """Write an image into the history, or, while that is away, keep it on this machine."""
        finished = self._history.prepare(generated, job.id)
        try:
            if self._pending.places_of(job.id):
                self._pending.put(finished)  # what could not be written before it is tried first, at the job's end
            else:
                self._history.commit(finished)
        except StorageError as error:
            if not error.temporary:
                self._history.withdraw(finished)
                raise
            log.warning("job %s: image %d is kept here until it can be written: %s", job.id, progress.image, error)
            self._pending.put(finished)
            self._report(job.id, progress, error)

    # -- while the database or the object store is away --------------------------------------------------------------

    def _commit_pending(self, job_id: str | None = None) -> None:
        """Write pending images into the history. Raises StorageError at the first that can't be written."""
        for image in self._pending.all(job_id):
            self._history.commit(image, late=True)
            self._pending.remove(image.id)

    def _commit_leftovers(self) -> None:
        """Write pending images of jobs that were cancelled meanwhile, if that is possible now."""
        try:
            self._commit_pending()
        except StorageError as error:
            log.warning("pending images stay here: %s", error)

    def _wait_for_pending(self, job: Job) -> None:
        """Return when all images of a job are in the history."""
        self._patiently(job, lambda: self._commit_pending(job.id))

    def _patiently(self, job: Job, step: Callable[[], _T]) -> _T:
        """Do a step of a job, again and again while what it needs is away.

        Raises Cancelled when the job is stopped meanwhile, and the step's error after MAX_WAIT_SECONDS.
        """
        began, pause = time.monotonic(), RETRY_SECONDS
        while True:
            try:
                return step()
            except StorageError as error:
                if not error.temporary or time.monotonic() - began > MAX_WAIT_SECONDS:
                    raise
                log.warning("job %s waits: %s", job.id, error)
                images = job.request.num_images
                self._report(job.id, Progress(Phase.SAVE, image=images, images=images), error)
            if self._stopping.wait(pause) or self._is_stopped(job.id):
                raise Cancelled
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

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


def _with_upgrade(image: GeneratedImage, begun: Mapping[str, Any]) -> GeneratedImage:
    """Return an image with a note for each file that took part and is another one than when its job began."""
    before, now = (
        {**used_files.model_hashes(effective), **used_files.hashes(effective)} for effective in (begun, image.effective)
    )
    notes = (_upgraded(name, before[name], now[name]) for name in used_files.changed(before, now))
    return replace(image, decisions=(*image.decisions, *notes))


def _upgraded(file: str, before: str, now: str) -> Decision:
    """Return the note about a file, named as in `used_files`."""
    kind, name = used_files.named(file)
    return Decision(_OPTIONS[kind], before, now, localize("jobs.runner.upgraded", file=name or kind))


def without_prompts(text: str, request: GenerationRequest) -> str:
    """Return `text` without prompts, for the log; libraries quote them in their errors."""
    names = ("prompt", "template", "original_prompt", "negative_prompt", "negative_template")
    parts = {getattr(single, name) for single in request.per_image_requests() for name in names}
    for prompt in sorted(parts, key=len, reverse=True):
        for form in (prompt, repr(prompt)[1:-1]):
            text = text.replace(form, "[prompt]") if form.strip() else text
    return text


class ImageSaver:
    """One thread of a running job. At most one image is being saved; when the block ends, all are.

    What saving an image raises, is raised by the next `put`, or at the end of the block. Of a block that ends with an
    error it is logged.
    """

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._thread = ThreadPoolExecutor(1, "save")
        self._saving: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception:  # whatever saving meets: the error that ended the block is the one to raise
            if error is None:
                raise
            log.exception("job %s: an image could not be saved", self._job_id)
        finally:
            self._thread.shutdown()

    def put(self, save: Callable[[], None]) -> None:
        """Call `save` in the thread once the image before it is saved."""
        self.wait()
        self._saving = self._thread.submit(save)

    def wait(self) -> None:
        """Return when all images are saved. Raises what the last one raised."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()
