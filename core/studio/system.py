"""Report on this machine and on its use, and find what went wrong in recent jobs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from core.config.loader import Settings
from core.errors import AdminOnlyError, NotFoundError, UnknownModelError
from core.history.image_quality import ImageStats, look
from core.history.store import History
from core.i18n import localize
from core.jobs.queue import JobQueue
from core.jobs.supervisor import WorkerSupervisor
from core.jobs.viewed_queue import Quota, use_of, uses
from core.jobs.worker_process import LOG_FILE
from core.models.catalog import Catalog
from core.remote.catalog import RemoteCatalog
from core.storage.database import Database
from core.studio.diagnostics import Evidence, Issue, find
from core.types import ImageRecord, Job, ModelInfo, SystemReport, Usage, Viewer, WorkerStatus

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "streamlit", "SQLAlchemy", "pillow")
RECENT_JOBS = 20  # the latest that are searched for faults
LOG_LINES = 200
LOG_BYTES = 128 * 1024  # at the end of the log file, searched for its last lines


class System:
    """Facts about the machine and its latest jobs. Each call reads anew."""

    def __init__(
        self,
        settings: Settings,
        queue: JobQueue,
        history: History,
        catalog: Catalog | RemoteCatalog,
        worker: WorkerSupervisor,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._history = history
        self._catalog = catalog
        self._worker = worker

    def report(self) -> SystemReport:
        """Return machine, versions, worker status and the end of the worker's log; takes some milliseconds."""
        return system_report(self._settings.output_directory, self._worker.status())

    def memory(self) -> tuple[int, int]:
        """Return the machine's RAM and how much of it is free, in bytes: of `report`, what pages show all the time."""
        memory = psutil.virtual_memory()
        return memory.total, memory.available

    def faults(self) -> tuple[Issue, ...]:
        """Return what went wrong lately or will go wrong, each with its cure."""
        jobs = self._queue.recent(RECENT_JOBS)
        return find(Evidence(jobs, tuple(self._looks(jobs)), self._model_or_none, self._settings.model.id))

    def _looks(self, jobs: Sequence[Job]) -> Iterator[tuple[ImageRecord, ImageStats]]:
        """Yield the first image of each job, if it still exists, with its statistics; the others were made alike."""
        for job in jobs:
            try:
                if job.image_ids:
                    yield self._history.get(job.image_ids[0]), look(self._history.file(job.image_ids[0]))
            except (NotFoundError, OSError):
                continue

    def _model_or_none(self, model: str) -> ModelInfo | None:
        try:
            return self._catalog.find(model)
        except UnknownModelError:
            return None


def system_report(output_directory: Path, worker: WorkerStatus) -> SystemReport:
    """Return the state of this machine, with the worker's own. Versions are read from metadata; nothing is imported."""
    memory = psutil.virtual_memory()
    return SystemReport(
        python=platform.python_version(),
        platform=platform.platform(),
        versions=_versions(),
        cpu_count=os.cpu_count() or 1,
        memory_total=memory.total,
        memory_available=memory.available,
        disk_free=psutil.disk_usage(str(_existing(output_directory))).free,
        output_directory=str(output_directory),
        worker=worker,
        log_tail=_tail(output_directory / LOG_FILE),
    )


def _versions() -> dict[str, str]:
    """Return the versions of the installed PACKAGES."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _existing(directory: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (directory, *directory.parents) if path.exists())


def _tail(path: Path) -> tuple[str, ...]:
    """Return the last LOG_LINES lines of the log; none without a log."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    whole = lines if size <= LOG_BYTES else lines[1:]  # the first may be cut
    return tuple(whole[-LOG_LINES:])


@dataclass(frozen=True)
class UserUsage:
    """Reads how much users have generated, for one viewer."""

    database: Database
    viewer: Viewer
    quota: Quota

    def own(self) -> Usage:
        """Return how much the viewer has generated."""
        with self.database.reading() as connection:
            return use_of(connection, self.viewer.client)

    def all(self) -> dict[str, Usage]:
        """Return how much each user has generated, by client. Raises AdminOnlyError."""
        if not self.viewer.admin:
            raise AdminOnlyError(action=localize("studio.system.of_others"))
        with self.database.reading() as connection:
            return uses(connection)


def quota_of(settings: Settings) -> Quota:
    """Return the quota of each user as the settings say."""
    return Quota(settings.quota.images_per_hour, settings.quota.megapixels_per_hour, settings.quota.disk_mb)
