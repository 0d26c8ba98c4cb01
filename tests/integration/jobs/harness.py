"""A queue with a real worker process over a folder of its own, and helpers to wait on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from core.config.loader import Settings, load_settings
from core.config.options import SCHEMA
from core.history.store import History
from core.jobs.queue import ChangeWatch, JobQueue
from core.jobs.supervisor import WorkerSupervisor
from core.jobs.worker_process import DATABASE_FILE, open_database, open_store
from core.studio import bootstrap
from core.types import GenerationRequest, Job, JobState
from tests.databases import put_database

FAKE = "tests.integration.jobs.fake_generator:build_generator"
PATIENCE = 150.0  # seconds; only a failing test waits this long
LOOK_SECONDS = 0.1  # so often a job is looked at again, even though nobody wrote anything: its time may have come


def make_settings(directory: Path, **values: Any) -> Settings:
    settings = load_settings(overrides={"output.directory": str(directory)})
    return replace(settings, values={**settings.values, "model.preload": False, **values})


def make_request(prompt: str = "a red house 红色的房子", **changes: Any) -> GenerationRequest:
    """Return a complete request of 4 steps at 64x64; names with a dot are options, `fake_x` is the option fake.x."""
    options = {option.key: option.default for option in SCHEMA.request_options()}
    fakes = {key.replace("fake_", "fake."): changes.pop(key) for key in list(changes) if key.startswith("fake_")}
    base = GenerationRequest(prompt=prompt, width=64, height=64, num_inference_steps=4, seed=7)
    return replace(base, options={**options, **fakes}, **changes)


class JobHarness:
    """What an app has of the jobs: database, queue, history and supervisor."""

    def __init__(
        self, directory: Path, generator: str = FAKE, place: Path | str = "", storage: str = "", **values: Any
    ) -> None:  # fmt: skip
        self.directory = directory
        self.place = place if isinstance(place, str) else ""  # of the database; "" for the file in the folder
        values = {"storage.database": self.place, "storage.images": storage, **values}
        if not self.place:
            put_database(directory / DATABASE_FILE)
        self.database = open_database(directory, values)
        self.queue = JobQueue(self.database)
        self.store = open_store(directory, values)
        self.history = History(self.database, self.store)
        settings = make_settings(directory, **values)
        self.supervisor = WorkerSupervisor(settings, self.database, generator, bootstrap.worker_module(settings))

    def submit(self, prompt: str = "a red house 红色的房子", **changes: Any) -> str:
        return self.queue.submit(make_request(prompt, **changes)).id

    def wait(self, job_id: str, *states: JobState) -> Job:
        """Return the job as soon as it is in one of `states` (default: any that ends it)."""
        wanted = states or (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
        return self.until(job_id, lambda job: job.state in wanted)

    def until(self, job_id: str, condition: Callable[[Job], bool]) -> Job:
        """Return the job as soon as it is so. It is read when somebody wrote to the database, which costs little to find out."""
        changes = ChangeWatch(self.database)
        looked = 0.0

        def look() -> Job | None:
            nonlocal looked
            if not changes.changed() and time.monotonic() < looked + LOOK_SECONDS:
                return None
            looked = time.monotonic()
            job = self.queue.get(job_id)
            return job if condition(job) else None

        try:
            return wait_for(look)
        finally:
            changes.close()

    def worker_pid(self) -> int:
        """Return the pid of the worker, once it has started."""
        pid = wait_for(lambda: self.supervisor.status().pid, 0.02)
        wait_for(lambda: self.supervisor.status().state in ("idle", "busy", "loading"), 0.02)
        return pid

    def close(self) -> None:
        self.supervisor.stop()
        self.database.close()


def wait_for(look: Callable[[], Any], every: float = 0.005) -> Any:
    """Return the first true value of `look()`, asked every so many seconds."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(every)
    raise AssertionError("waited in vain")


def wait_until_gone(pid: int) -> None:
    """Until that process has ended; a machine at work may take its time."""
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
