"""The worker: a process of its own that makes the pictures, one job after the other, with the model kept in memory.

    python -m core.jobs.worker [--generator module:function]  < one JSON line of WorkerOrders

It ends when its stdin is closed or its owner is gone, so it never outlives the app; its lock on the output folder sees
to it that no second one runs over the same queue.
What this module does not know: pages, torch (the generator is imported by name).
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from logging.handlers import RotatingFileHandler
from pathlib import Path

import psutil

from core.config.options import SCHEMA
from core.errors import Cancelled, ModelLoadError, StorageError, StudioError
from core.jobs.allocator import VARIABLE
from core.jobs.changes import ChangeWatch
from core.jobs.generation import DEFAULT_GENERATOR, Generator, as_studio_error, build_generator, device_fault
from core.jobs.lock import FolderLock
from core.jobs.orders import DATABASE_FILE, EXIT_DEVICE, EXIT_IDLE, EXIT_LOCKED, LOCK_FILE, LOG_FILE, WorkerOrders
from core.jobs.pace import Pace
from core.jobs.queue import JobQueue
from core.jobs.reasons import PREDECESSOR_GONE
from core.jobs.roster import Roster, is_alive, sweep
from core.jobs.wishes import Wish, Wishes
from core.remote.generator import RemoteGenerator
from core.storage.database import Database
from core.storage.history import History
from core.storage.sheets import Sheets
from core.types import GenerationRequest, Job, JobState, Phase, Picture, Progress, WorkerStatus

POLL_SECONDS = 0.05  # an idle worker looks for a job this often
BEAT_SECONDS = 2.0  # and says this often that it lives
OWNER_SECONDS = 0.5  # how often the owner is looked for, should its end of stdin be held open by someone else
GRACE_SECONDS = 1.2  # to end the step or the file in hand once the app is gone
RETRY_SECONDS = 1.0  # after a database or a disk that refused

_ENDS = {0: "the app was closed", EXIT_DEVICE: "the device failed", EXIT_IDLE: "the model was idle for long"}

log = logging.getLogger(__name__)


class Worker:
    """Claims, generates, saves, reports; one thread. `stopping` ends it after the step in hand.

    A job that was interrupted before is gone on with: of its pictures only those that the history lacks are made.
    """

    def __init__(
        self,
        orders: WorkerOrders,
        database: Database,
        build: Callable[[], Generator],
        stopping: threading.Event,
    ) -> None:
        self._id = orders.worker_id
        self._values = orders.values
        self._unloaded_from = orders.unloaded_from
        self._queue = JobQueue(database)
        self._roster = Roster(database)
        self._changes = ChangeWatch(database.path)
        self._history = History(database, orders.output_directory)
        self._wishes = Wishes(orders.output_directory)
        self._sheets = Sheets(database, orders.output_directory)
        self._build = build
        self._generator: Generator | None = None
        self._stopping = stopping
        self._process = psutil.Process()
        self._good_jobs = 0
        self._said = ("", 0.0)  # the state last written, and when (monotonic seconds)
        self._busy_until = time.monotonic()
        self._device_failed = False

    def run(self) -> int:
        """Until `stopping`, a device that failed, or a long rest; the exit code. No job and no full disk ends it."""
        self._beat("starting")
        sweep(self._queue, self._roster, PREDECESSOR_GONE)
        self._take_in_pictures()
        if self._unloaded_from is None:
            self._prepare()
        while not self._stopping.is_set():
            try:
                self._beat("idle")
                # A look that failed, and a job whose time has come, are seen after the next beat, which is a change too.
                if self._changes.changed():
                    if self._queue.has_waiting():
                        self._work_through()
                    self._draw_sheets()  # of a sweep whose last job was cancelled
                wish = self._wishes.take()
                if wish is not None and self._grant(wish):
                    return EXIT_IDLE
                if self._device_failed:
                    return EXIT_DEVICE
                if self._has_rested():
                    return EXIT_IDLE
                self._stopping.wait(POLL_SECONDS)
            except Exception:
                log.exception("the queue could not be served; trying again in %g s", RETRY_SECONDS)
                self._stopping.wait(RETRY_SECONDS)
        return 0

    def _has_rested(self) -> bool:
        """Whether the model has been idle for so long that its memory is given back, which only ending does wholly."""
        minutes = self._values["worker.unload_minutes"]
        loaded = self._generator is not None and self._generator.loaded is not None
        return bool(minutes) and loaded and time.monotonic() - self._busy_until > 60 * minutes

    # -- before the first job --------------------------------------------------------------------------------------

    def _take_in_pictures(self) -> None:
        """A worker that was killed may have left a picture without its row: it must not be made twice."""
        try:
            self._history.sweep()
        except StorageError:
            log.exception("pictures without rows could not be looked for")

    def _prepare(self) -> None:
        """Import the generator and load the model ahead of time. What fails here fails again in a job, aloud."""
        try:
            generator = self._ready_generator()
            if self._values["model.preload"] and not self._queue.has_waiting():
                self._beat("loading")
                options = {option.key: self._values[option.key] for option in SCHEMA.request_options()}
                last = self._wishes.last() if self._values["model.last_at_start"] else None
                generator.load(last or self._values["model.id"], options, lambda progress: self._beat("loading"))
        except Exception:
            log.exception("the model could not be loaded ahead of the first job")

    def _grant(self, wish: Wish) -> bool:
        """Load what is wished for; True when the model is to be unloaded, which only ending does wholly."""
        if wish.model is None:
            return self._generator is not None and self._generator.loaded is not None
        try:
            self._beat("loading")
            self._ready_generator().load(wish.model, wish.options, lambda progress: self._beat("loading"))
            self._wishes.remember(wish.model)
        except Exception as problem:
            log.exception("%s could not be loaded", wish.model)
            words = f"{type(problem).__name__}: {problem}"[:300]
            self._wishes.refuse(
                problem if isinstance(problem, StudioError) else ModelLoadError(model=wish.model, detail=words)
            )
        self._busy_until = time.monotonic()
        return False

    def _ready_generator(self) -> Generator:
        if self._generator is None:
            self._generator = self._build()
        return self._generator

    # -- one job ---------------------------------------------------------------------------------------------------

    def _work_through(self) -> None:
        """Every job that is waiting, with no pause between them."""
        while not (self._stopping.is_set() or self._device_failed):
            job = self._queue.claim(self._id)
            if job is None:
                return
            self._work(job)

    def _work(self, job: Job) -> None:
        began = time.monotonic()
        log.info("job %s: begins, model %s", job.id, job.request.model)
        state, error = self._attempt(job)
        self._settle(job.id, state, error)
        self._draw_sheets()
        self._good_jobs += state is JobState.DONE
        if state is JobState.DONE:
            self._wishes.remember(job.request.model)
        self._busy_until = time.monotonic()
        log.info("job %s: %s after %.2f s", job.id, state, time.monotonic() - began)

    def _attempt(self, job: Job) -> tuple[JobState, StudioError | None]:
        """Generate what the job lacks; how it ended, where queued means that it is to be gone on with."""
        request = job.request
        try:
            made = self._history.places_of(job.id)
            if len(made) >= request.num_images:
                self._progress(job.id, Progress(Phase.SAVE, image=request.num_images, images=request.num_images))
                return JobState.DONE, None
            pace = Pace(request, made, self._history.seconds_of_past)
            self._ready_generator().generate(
                request,
                lambda progress: self._progress(job.id, replace(progress, eta_seconds=pace.left(progress))),
                lambda: self._is_stopped(job.id),
                lambda picture: self._save(job, picture, pace),
                made,
                job.id,
            )
        except Cancelled:
            return (JobState.CANCELLED if self._queue.is_cancel_requested(job.id) else JobState.QUEUED), None
        except Exception as problem:
            log.error("job %s failed\n%s", job.id, without_prompts(traceback.format_exc(), request))
            fault = device_fault(problem)
            if fault:
                self._device_failed = True
                self._queue.abandon(self._id, fault)
                return self._queue.get(job.id).state, None
            return JobState.FAILED, as_studio_error(problem, request, self._status("busy").device or "cpu")
        return JobState.DONE, None

    def _draw_sheets(self) -> None:
        """Contact sheets of the sweeps that have ended. No job fails for want of one: its page draws it, then."""
        try:
            self._sheets.draw_ended()
        except StorageError:
            log.exception("a contact sheet could not be drawn")

    def _progress(self, job_id: str, progress: Progress) -> None:
        self._queue.report(job_id, progress)
        self._beat("loading" if progress.phase is Phase.LOADING else "busy")

    def _is_stopped(self, job_id: str) -> bool:
        return self._stopping.is_set() or self._queue.is_stop_requested(job_id)

    def _save(self, job: Job, picture: Picture, pace: Pace) -> None:
        """Keep a picture the moment it is made, unless the user has asked to stop meanwhile."""
        if self._queue.is_cancel_requested(job.id):
            raise Cancelled
        steps, images = picture.request.num_inference_steps, job.request.num_images
        self._progress(job.id, Progress(Phase.SAVE, steps, steps, picture.place, images))
        self._history.add(picture, job.id)
        pace.learn(picture)

    def _settle(self, job_id: str, state: JobState, error: StudioError | None) -> None:
        """Write how a job ended, and keep trying while the disk is full: a job must not stay running for ever."""
        if self._device_failed:
            return None  # it was written with the fault
        while True:
            try:
                if state is JobState.QUEUED:
                    return self._queue.give_back(job_id)
                return self._queue.finish(job_id, state, error)
            except StorageError:
                log.exception("job %s: the end could not be written", job_id)
                if self._stopping.wait(RETRY_SECONDS):
                    return None

    # -- what the worker says of itself ----------------------------------------------------------------------------

    def _beat(self, state: str) -> None:
        """Write the worker's row when its state changed or the last word is old. No job fails for want of it."""
        said, when = self._said
        if state == said and time.monotonic() - when < BEAT_SECONDS:
            return
        try:
            self._roster.write(self._id, self._status(state), self._good_jobs)
        except StorageError:
            log.exception("the worker's status could not be written")
        self._said = (state, time.monotonic())

    def _status(self, state: str) -> WorkerStatus:
        memory = self._process.memory_info().rss
        told = os.environ.get(VARIABLE, "")
        loaded = self._generator.loaded if self._generator else None
        if loaded is None:
            return WorkerStatus(
                state, os.getpid(), memory_bytes=memory, unloaded_from=self._unloaded_from, allocator=told
            )
        return WorkerStatus(
            state=state,
            pid=os.getpid(),
            model=loaded.model,
            device=loaded.device,
            memory_bytes=memory,
            load_seconds=loaded.load_seconds,
            decisions=tuple(loaded.decisions),
            versions=loaded.versions,
            asked=loaded.asked,
            effective=loaded.effective,
            capabilities=tuple(loaded.capabilities),
            allocator=told,
        )


def without_prompts(text: str, request: GenerationRequest) -> str:
    """`text` fit for the log: what people write is theirs, also where a library quotes it in its error."""
    parts = {text for single in request.singles() for text in (single.prompt, single.template, single.negative_prompt)}
    for prompt in sorted(parts, key=len, reverse=True):
        for form in (prompt, repr(prompt)[1:-1]):
            text = text.replace(form, "[prompt]") if form.strip() else text
    return text


def watch_owner(owner: psutil.Process, stopping: threading.Event) -> None:
    """Start the daemon threads that end this process when the app is gone: first politely, then at once."""

    started = owner.create_time()

    def end() -> None:
        stopping.set()
        time.sleep(GRACE_SECONDS)
        os._exit(0)

    def watch_stdin() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock, held here, would make the interpreter abort at exit
            pass
        end()

    def watch_process() -> None:
        while is_alive(owner.pid, started):
            time.sleep(OWNER_SECONDS)
        end()

    for watch in (watch_stdin, watch_process):
        threading.Thread(target=watch, name=watch.__name__, daemon=True).start()


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(path, maxBytes=2_000_000, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every opening of the database
    logging.captureWarnings(True)


def _generator(orders: WorkerOrders, name: str) -> Generator:
    """The one that has another studio draw where there is one to, else the one of that name."""
    if orders.values["worker.server"]:
        return RemoteGenerator(orders.values)
    return build_generator(name, orders.configs, orders.values)


def main() -> int:
    """Read the orders, take the lock, work. The exit code is 0, or one of those that `orders` declares."""
    faulthandler.enable()
    parser = argparse.ArgumentParser(description="The worker process of Z Darkroom; the app starts it by itself.")
    parser.add_argument("--generator", default=DEFAULT_GENERATOR, help="module:function that builds the generator")
    arguments = parser.parse_args()
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        orders = WorkerOrders.from_line(stdin.readline())
    stopping = threading.Event()
    try:
        watch_owner(psutil.Process(orders.owner_pid), stopping)
    except psutil.NoSuchProcess:
        return 0
    lock = FolderLock(orders.output_directory / LOCK_FILE)
    if not lock.take():
        return EXIT_LOCKED
    _log_to(orders.output_directory / LOG_FILE)
    log.info("worker %s begins, pid %d", orders.worker_id, os.getpid())
    database = Database(orders.output_directory / DATABASE_FILE)
    code = Worker(orders, database, lambda: _generator(orders, arguments.generator), stopping).run()
    log.info("worker %s ends: %s", orders.worker_id, _ENDS[code])
    return code


if __name__ == "__main__":
    sys.exit(main())
