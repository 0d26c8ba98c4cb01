"""The worker, the machine, and what goes wrong on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.errors import (
    NotFoundError,
    UnknownModelError,
)
from core.faults import Evidence, Fault, find
from core.storage.inspection import Look, look
from core.studio.jobs import Jobs
from core.studio.pictures import Pictures
from core.types import (
    ImageRecord,
    Job,
    ModelInfo,
    SystemReport,
    WorkerStatus,
)

FAULT_JOBS = 20  # the latest that are looked through for faults


class Machine(Jobs, Pictures):
    """The verbs that tell how things stand."""

    def worker(self) -> WorkerStatus:
        """What the worker last said of itself; cheap."""
        return self._worker.status()

    def add_worker(self, node: str) -> None:
        """One more worker on that machine of the cluster (its id), as soon as the dispatcher looks."""
        self._worker.add_worker(node)

    def drain_worker(self, worker: str) -> None:
        """Let that worker of the cluster (its id) finish its picture and take no other."""
        self._worker.drain_worker(worker)

    def faults(self) -> tuple[Fault, ...]:
        """What went wrong lately or will, each with its cure."""
        jobs = self.jobs(FAULT_JOBS)
        return find(Evidence(jobs, tuple(self._looks(jobs)), self._model_or_none, self.settings["model.id"]))

    def _looks(self, jobs: Sequence[Job]) -> Iterator[tuple[ImageRecord, Look]]:
        """The pictures of these jobs that are still there; of each job the first, as its others were made alike."""
        for job in jobs:
            try:
                if job.image_ids:
                    yield self.image(job.image_ids[0]), look(self.image_file(job.image_ids[0]))
            except (NotFoundError, OSError):
                continue

    def look(self, image_id: str) -> Look:
        """A picture's file in figures; NotFoundError when it is gone."""
        return look(self.image_file(image_id))

    def _model_or_none(self, model: str) -> ModelInfo | None:
        try:
            return self._catalog.find(model)
        except UnknownModelError:
            return None

    def system(self) -> SystemReport:
        """The machine, the versions, the worker, the end of the log."""
        return self._system.report(self._worker.status())
