"""Start the worker process, restart it when it dies, end it when it hangs, and requeue its jobs."""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Literal

from core.config.compile_cache import cache_variables, keep_within
from core.config.loader import PROJECT_ROOT, Settings
from core.config.thread_environment import waiting
from core.errors import NoRoomError, StudioError, WorkerStartError
from core.jobs import generator_protocol
from core.jobs.generator_protocol import DEFAULT_GENERATOR, EXIT_IDLE, EXIT_LOCKED
from core.jobs.job_rows import new_id
from core.jobs.queue import JobQueue
from core.jobs.worker_commands import ModelCommand, ModelCommands, WorkerRequests
from core.jobs.worker_process import ALLOCATOR_VARIABLE, OUTPUT_FILE, WorkerConfig, allocator_settings
from core.jobs.worker_registry import AWAY_SECONDS, WorkerRegistry, requeue_abandoned, requeue_lost
from core.storage.database import Database
from core.types import WorkerStatus

FIRST_DELAY = 0.2  # seconds until a worker that died is started again; doubled each time
LONGEST_DELAY = 30.0
MAX_STARTS = 3  # workers in a row that ended before they were ready: then the reason is shown, and starting is retried
GOOD_SECONDS = 60.0  # a worker that lived this long, or finished a job, was a good one
LOCKED_DELAY = 5.0  # how often we look whether the worker of another app over this folder has ended
TAKE_OVER_SECONDS = 15.0  # how often we look for workers of other apps over this database that are gone
WATCH_SECONDS = 1.0  # how often a worker is looked at for having stopped moving
CLOSE_SECONDS = 3.0  # a worker ends by itself this soon after its stdin is closed
MAX_OUTPUT_BYTES = 1_000_000
MIN_FREE_BYTES = 40_000  # bytes, ten pages: below that SQLite's log may not take one more change
_BEGUN = ("idle", "busy")  # states of a worker that takes jobs
RAY_GRACE = 30.0  # seconds: the dispatcher itself ends the one that hangs, of several workers

log = logging.getLogger(__name__)


class WorkerSupervisor:
    """Keep one worker process alive with one thread, from `start` to `stop`. Both may be called again."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        generator: str = DEFAULT_GENERATOR,
        worker_module: str = "core.jobs.worker",
    ) -> None:
        """Keep the settings. `worker_module` is run with `python -m`, and gets `generator` ("module:function")."""
        self._settings = settings
        self._module = worker_module
        self._generator = generator
        self._queue = JobQueue(database)
        self._registry = WorkerRegistry(database)
        self._commands = ModelCommands(settings.output_directory)
        self._requests = WorkerRequests(settings.output_directory)
        self._guard = threading.Lock()  # over the three below
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._unloaded_from: int | None = None  # bytes that an idle worker has just given back
        self._failed_starts = 0  # in a row
        self._trouble: StudioError | None = None
        self._looked_for_lost = time.monotonic()
        self._last_report: tuple[str | None, float] = (
            None,
            0.0,
        )  # its time there, and when it was first seen (monotonic)
        self._database_failed = -math.inf  # when the database last gave no answer (monotonic)

    def start(self) -> None:
        """Requeue jobs that a crash left running, then keep a worker alive. Does nothing if already started."""
        with self._guard:
            if self._thread is not None:
                return
            requeue_abandoned(self._queue, self._registry, generator_protocol.APP_NOT_RUNNING)
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._keep_alive, args=(self._stopping,), name="worker-supervisor", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the worker, by force if it does not end by itself. Returns when it is gone."""
        with self._guard:
            self._stopping.set()
            process, thread, self._thread = self._process, self._thread, None
        if process is not None:
            _end(process)
        if thread is not None:
            thread.join()

    def status(self) -> WorkerStatus:
        """Return the latest heartbeat of a live worker over this folder, of this app or another; one small query."""
        process = self._process
        status = self._registry.latest(process.pid if process else None)
        if status.state == "stopped" and process is not None and process.poll() is None:
            status = WorkerStatus(state="starting", pid=process.pid)
        trouble = None if status.state in _BEGUN else self._trouble
        return replace(status, trouble=self._disk_full() or trouble)

    def _disk_full(self) -> StudioError | None:
        """Return an error if the disk is too full for the worker to write its own; None if the folder is gone."""
        directory = self._settings.output_directory
        try:
            free = shutil.disk_usage(directory).free
        except OSError:
            return None
        return NoRoomError(path=directory) if free < MIN_FREE_BYTES else None

    def load(self, model: str, options: Mapping[str, Any]) -> None:
        """Ask the worker to load this model between two jobs; the present one is unloaded first."""
        self._commands.ask(ModelCommand(model, options))

    def unload(self) -> None:
        """Ask the worker to unload: it ends, which frees all memory, and a new one is started."""
        self._commands.ask(ModelCommand(None, {}))

    def refusal(self) -> StudioError | None:
        """Return why the last command to load or unload failed."""
        return self._commands.refusal()

    def add_worker(self, node: str) -> None:
        """Ask the dispatcher for one more worker on a machine of the cluster."""
        self._requests.ask("add", node)

    def drain_worker(self, worker: str) -> None:
        """Ask the dispatcher to let a worker of the cluster finish its image and take no other."""
        self._requests.ask("drain", worker)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _keep_alive(self, stopping: threading.Event) -> None:
        delay = FIRST_DELAY
        while not stopping.is_set():
            try:
                life = self._run_worker_once(stopping)
            except (
                Exception
            ) as problem:  # no process, no disk, no database: whatever it is, the next try may find it mended
                log.exception("the worker could not be looked after; trying again in %g s", delay)
                self._count_start(False, {"en": str(problem), "zh": str(problem)})
                life = "bad"
            if life == "locked":
                stopping.wait(LOCKED_DELAY)
                continue
            delay = FIRST_DELAY if life == "good" else delay
            stopping.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _run_worker_once(self, stopping: threading.Event) -> Literal["good", "bad", "locked"]:
        """Start a worker, wait for its end, requeue its jobs; return how it went."""
        worker_id, began = new_id(), time.monotonic()
        with self._guard:
            if stopping.is_set():
                return "good"
            self._process = process = self._spawn(worker_id)
        code, hang = self._watch(process, worker_id)
        if code == EXIT_LOCKED:
            return "locked"
        last = self._registry.last_status(worker_id)
        self._unloaded_from = last.memory_bytes if code == EXIT_IDLE else None
        reason = generator_protocol.APP_CLOSED if stopping.is_set() else hang or generator_protocol.ended(code)
        lost = self._queue.abandon(worker_id, reason)
        good_jobs = self._registry.remove(worker_id)
        quiet = stopping.is_set() or code == EXIT_IDLE
        self._count_start(quiet or bool(lost) or last.state in _BEGUN, reason)
        log.log(logging.INFO if quiet else logging.ERROR, "worker: %s; jobs interrupted: %d", reason["en"], len(lost))
        return "good" if good_jobs or quiet or time.monotonic() - began > GOOD_SECONDS else "bad"

    def _count_start(self, began: bool, reason: generator_protocol.Reason) -> None:
        """Count workers that end before they begin. No job reports that, so after MAX_STARTS the status does."""
        self._failed_starts = 0 if began else self._failed_starts + 1
        self._trouble = None
        if self._failed_starts >= MAX_STARTS:
            log_file = self._settings.output_directory / OUTPUT_FILE
            self._trouble = WorkerStartError(times=self._failed_starts, detail=reason, log=log_file)

    def _watch(self, process: subprocess.Popen[bytes], worker_id: str) -> tuple[int, generator_protocol.Reason | None]:
        """Wait for the worker's end, and kill it when its job stops moving; return exit code and reason."""
        limit = self._settings.worker.timeout
        limit += RAY_GRACE if limit and self._settings.worker.executor == "ray" else 0.0
        while True:
            try:
                return process.wait(WATCH_SECONDS), None
            except subprocess.TimeoutExpired:
                self._requeue_lost()
                silence = self._silence(worker_id)
                if limit and silence > limit:
                    process.kill()
                    return process.wait(), generator_protocol.silent(limit)

    def _requeue_lost(self) -> None:
        """Requeue the jobs of workers of other apps whose machines are gone."""
        if time.monotonic() - self._looked_for_lost < TAKE_OVER_SECONDS:
            return
        self._looked_for_lost = time.monotonic()
        if time.monotonic() - self._database_failed < AWAY_SECONDS:
            return  # heartbeats are old because nobody could write them
        try:
            if lost := requeue_lost(self._queue, self._registry, generator_protocol.MACHINE_GONE):
                log.warning("%d workers of other apps are gone; their jobs are queued again", lost)
        except Exception:
            log.exception("the registry could not be read")
            self._database_failed = time.monotonic()

    def _silence(self, worker_id: str) -> float:
        """Return the seconds since the last report, by this process's own clock: nobody can set that one.

        The time of an outage of the database does not count, so that no worker is killed for it.
        """
        try:
            last = self._queue.last_report(worker_id)
        except Exception:
            log.exception("the worker's progress could not be read")
            self._database_failed = time.monotonic()
            return 0.0
        if last != self._last_report[0]:
            self._last_report = (last, time.monotonic())
        return time.monotonic() - max(self._last_report[1], self._database_failed) if last is not None else 0.0

    def _spawn(self, worker_id: str) -> subprocess.Popen[bytes]:
        config = WorkerConfig(
            worker_id=worker_id,
            parent_pid=os.getpid(),
            output_directory=self._settings.output_directory,
            configs=self._settings.configs.resolve(),
            values={key: value for key, value in self._settings.values.items() if key != "access.token"},
            unloaded_from=self._unloaded_from,
        )
        with suppress(OSError):  # a cache that can't be tidied is no reason not to start
            keep_within(config.output_directory)
        with _output_file(config) as output:
            process = subprocess.Popen(
                [sys.executable, "-m", self._module, "--generator", self._generator],
                cwd=PROJECT_ROOT,
                env=_environment_of(self._settings.values, config.output_directory),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                **_own_session(),
            )
        assert process.stdin is not None
        try:
            process.stdin.write(config.to_line().encode("ascii"))
            process.stdin.flush()
        except OSError:  # it is dead already; who waits for it will see why
            log.warning("the worker ended before it was told what to do")
        return process


def _environment_of(values: Mapping[str, Any], output: Path) -> dict[str, str]:
    """Return our environment with what torch reads at start (threads, CUDA allocator, caches); the user's own values win."""
    selected = allocator_settings(values, os.environ.get(ALLOCATOR_VARIABLE, ""))
    told = {**waiting(os.environ), **cache_variables(output, os.environ)}
    return {**told, **os.environ, **({ALLOCATOR_VARIABLE: selected} if selected else {})}


def _own_session() -> dict[str, Any]:
    """Return arguments that keep Ctrl+C from the worker: it ends by its stdin, after the file being written."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _output_file(config: WorkerConfig) -> IO[bytes]:
    """Open the file for output of libraries and crash dumps; truncated when it has grown large."""
    path = config.output_directory / OUTPUT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    large = path.exists() and path.stat().st_size > MAX_OUTPUT_BYTES
    return path.open("wb" if large else "ab")


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.close()
    except OSError:
        log.debug("the worker had closed its stdin")
    for firmer in (process.terminate, process.kill):
        try:
            process.wait(CLOSE_SECONDS)
            return
        except subprocess.TimeoutExpired:
            firmer()
    process.wait()
