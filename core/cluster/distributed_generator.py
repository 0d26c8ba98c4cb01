"""Generate the images of one job on all free workers of a cluster.

Each image is generated from its own single request, so image k equals the one that a single machine makes of the same
seed on the same kind of device. Finished images are handed over in the order in which they arrive.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.cluster.transport import Ended, Freed, Lost, Step, Words
from core.cluster.worker_pool import Inbox, WorkerPool
from core.errors import Cancelled, StudioError
from core.jobs.generator_protocol import OnProgress, WorkerLost
from core.types import GeneratedImage, GenerationRequest, GenerationResult, Progress, ResumeState

WAIT_SECONDS = 0.25  # how often cancellation is checked while no message arrives
MAX_STEPS = 3  # of an image that are reported at once

log = logging.getLogger(__name__)


class DistributedGenerator:
    """Generate from any number of threads; each takes the workers that are free.

    While a thread has images without a worker, `waiting` keeps the dispatcher from claiming another job, so jobs start in
    the order of the queue.
    """

    loaded = None  # each worker says what it holds; see WorkerPool.status

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._wanted = threading.Condition()  # over the next one
        self._wanting: set[str] = set()

    @property
    def waiting(self) -> bool:
        """Return True if a job waits for a worker."""
        return bool(self._wanting)

    def want(self, job_id: str, wants: bool = True) -> None:
        """Set whether a job has images without a worker."""
        with self._wanted:
            (self._wanting.add if wants else self._wanting.discard)(job_id)
            self._wanted.notify_all()

    def is_served(self, seconds: float) -> bool:
        """Return True if no job waits for a worker, now or within `seconds`."""
        with self._wanted:
            return self._wanted.wait_for(lambda: not self._wanting, seconds)

    def load(
        self,
        model: str,
        options: Mapping[str, Any],
        on_progress: OnProgress,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Have the idle workers load a model."""
        self._pool.load(model, options)

    def generate(
        self,
        request: GenerationRequest,
        on_progress: OnProgress,
        is_cancelled: Callable[[], bool],
        on_image: Callable[[GeneratedImage], None],
        attempt: ResumeState,
    ) -> GenerationResult:
        """Generate the images that the attempt does not have yet.

        Raises Cancelled; a worker's error, once the others have finished their images; WorkerLost when a worker is gone.
        """
        course = _Course(self._pool, request, attempt, on_progress, on_image)
        try:
            while course.goes_on:
                if is_cancelled():
                    course.stop()
                self.want(attempt.job_id, course.assign())
                course.hear()
            course.tell_end()
        finally:
            self.want(attempt.job_id, False)
            course.release()
        return GenerationResult(())


class _Course:
    """One running job: the images to assign, and which worker has which."""

    def __init__(
        self,
        pool: WorkerPool,
        request: GenerationRequest,
        attempt: ResumeState,
        on_progress: OnProgress,
        on_image: Callable[[GeneratedImage], None],
    ) -> None:
        self._pool = pool
        self._request = request
        self._attempt = replace(attempt, made=())  # of a single image nothing is made yet
        self._on_progress = on_progress
        self._on_image = on_image
        per_image_requests = enumerate(request.per_image_requests(), start=1)
        self._left = deque((place, single) for place, single in per_image_requests if place not in attempt.made)
        self._done = len(set(attempt.made))
        self._hands: dict[
            str, tuple[int, int]
        ] = {}  # by worker: the image number that it generates, and the ticket of that
        self._shown: tuple[str, int] | None = None  # the worker whose steps are shown, and the ticket
        self._inbox: Inbox = queue.SimpleQueue()
        self._stopped = False
        self._error: Exception | None = None

    @property
    def goes_on(self) -> bool:
        """Return True while an image is assigned or waits for a worker."""
        return bool(self._left or self._hands)

    def assign(self) -> bool:
        """Assign images to free workers; return True if images are left without one."""
        while self._left:
            worker = self._pool.take(self._left[0][1], self._attempt.job_id, self._inbox)
            if worker is None:
                break
            self._give(worker)
        return bool(self._left)

    def stop(self) -> None:
        """Assign no more, and have busy workers stop within a step."""
        self._left.clear()
        if not self._stopped:
            self._stopped = True
            for worker in self._hands:
                self._pool.stop(worker)

    def hear(self) -> None:
        """Wait a little for messages of the workers, and handle them."""
        lead = self._lead()
        received = self._received()
        ends = [(worker, message) for worker, message in received if not isinstance(message, Step)]
        images = [self._take_end(worker, message) for worker, message in ends]
        self._report([message.progress for worker, message in received if worker == lead and isinstance(message, Step)])
        for image in images:  # the next ones are generated while these are saved
            if image is not None:
                self._on_image(image)
                self._done += 1

    def tell_end(self) -> None:
        """Raise the error, or Cancelled, that ended the job, if any."""
        if self._error is not None:
            raise self._error
        if self._stopped:
            raise Cancelled

    def release(self) -> None:
        """Release all workers of this job."""
        for worker in self._hands:
            self._pool.release(worker)
        self._hands.clear()

    def _give(self, worker: str) -> None:
        place, single = self._left.popleft()
        self._hands[worker] = (place, self._pool.generate(worker, single, self._attempt))

    def _received(self) -> list[tuple[str, Step | Ended | Lost]]:
        """Return all messages, after waiting for the first; those of earlier commands are dropped."""
        received = []
        try:
            received.append(self._inbox.get(timeout=WAIT_SECONDS))
            while True:
                received.append(self._inbox.get_nowait())
        except queue.Empty:
            own = ((worker, message) for worker, message in received if not isinstance(message, (Freed, Words)))
            return [(worker, message) for worker, message in own if self._hands.get(worker, (0, 0))[1] == message.ticket]

    def _take_end(self, worker: str, message: Ended | Lost) -> GeneratedImage | None:
        """Give a worker that finished the next image, or release it. Return its image, if there is one."""
        place, _ = self._hands.pop(worker)
        if isinstance(message, Lost):
            self._fail(WorkerLost(message.reason))
            return None
        if message.fault is not None:
            self._fail(WorkerLost(message.fault))
        elif message.error is not None:
            log.error("job %s, image %d failed\n%s", self._attempt.job_id, place, message.trace)
            self._fail(StudioError.from_dict(message.error))
        if self._left and self._pool.stays(worker):
            self._give(worker)
        else:
            self._pool.release(worker)
        return message.image and replace(message.image, place=place)

    def _fail(self, error: Exception) -> None:
        """Keep the first error and assign no more. The other workers finish their images: no finished work is lost."""
        self._error = self._error or error
        self._left.clear()

    def _lead(self) -> str | None:
        """Return the worker of the first image in progress: its steps and previews are shown."""
        lead = min(self._hands, key=lambda worker: self._hands[worker][0], default=None)
        if lead is not None and self._shown != (lead, self._hands[lead][1]):
            self._shown = (lead, self._hands[lead][1])
            self._pool.show(lead)
        return lead

    def _report(self, steps: Sequence[Progress]) -> None:
        """Pass on the latest steps, MAX_STEPS at most, for databases too slow for all of them."""
        for progress in steps[-MAX_STEPS:]:
            self._on_progress(self._whole(progress))

    def _whole(self, progress: Progress) -> Progress:
        """Return the progress of a single image as that of the job."""
        image = min(self._done + 1, self._request.num_images)
        return replace(progress, image=image, images=self._request.num_images, workers=max(1, len(self._hands)))
