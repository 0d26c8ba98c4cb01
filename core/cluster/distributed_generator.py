"""A generator whose pictures are drawn by the fleet: one job's pictures go to all the workers that are free for it.

Each picture is drawn from its own single request, so picture k is the one that a machine alone makes of the same seed on
the same kind of device. Finished pictures are handed over in the order in which they come in.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.cluster.messages import Ended, Freed, Lost, Step
from core.cluster.pool_worker import Inbox
from core.cluster.worker_pool import WorkerPool
from core.errors import Cancelled, StudioError
from core.jobs.generator_protocol import OnProgress, WorkerLost
from core.types import GeneratedImage, GenerationRequest, GenerationResult, Progress, ResumeState

WAIT_SECONDS = 0.25  # how often a wish to stop is looked for while nothing is said
MOST_STEPS = 3  # of a picture that are told at once

log = logging.getLogger(__name__)


class DistributedGenerator:
    """Any number of threads may generate at once; each takes the workers that it can get.

    A thread that still has pictures without a worker is in want: `in_want` tells the dispatcher to claim no other job
    meanwhile, so that jobs begin in the order of the queue.
    """

    loaded = None  # each worker says what it holds; see Fleet.status

    def __init__(self, fleet: WorkerPool) -> None:
        self._fleet = fleet
        self._wanted = threading.Condition()  # over the next one
        self._wanting: set[str] = set()

    @property
    def in_want(self) -> bool:
        """Whether some job waits for a worker."""
        return bool(self._wanting)

    def want(self, job_id: str, wants: bool = True) -> None:
        """Say that a job has pictures without a worker, or none any more."""
        with self._wanted:
            (self._wanting.add if wants else self._wanting.discard)(job_id)
            self._wanted.notify_all()

    def is_served(self, seconds: float) -> bool:
        """Whether no job waits for a worker, now or within so many seconds."""
        with self._wanted:
            return self._wanted.wait_for(lambda: not self._wanting, seconds)

    def load(self, model: str, options: Mapping[str, Any], on_progress: OnProgress) -> None:
        """Have the workers at rest load a model."""
        self._fleet.load(model, options)

    def generate(
        self,
        request: GenerationRequest,
        on_progress: OnProgress,
        is_cancelled: Callable[[], bool],
        on_image: Callable[[GeneratedImage], None],
        attempt: ResumeState,
    ) -> GenerationResult:
        """All pictures of the request but those that the attempt has already.

        Raises Cancelled; what a worker raised, once the others have finished their pictures; WorkerLost when one is gone.
        """
        course = _Course(self._fleet, request, attempt, on_progress, on_image)
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
    """One job on its way: what is still to be given out, and who draws what."""

    def __init__(
        self,
        fleet: WorkerPool,
        request: GenerationRequest,
        attempt: ResumeState,
        on_progress: OnProgress,
        on_image: Callable[[GeneratedImage], None],
    ) -> None:
        self._fleet = fleet
        self._request = request
        self._attempt = replace(attempt, made=())  # of a single picture nothing is made yet
        self._on_progress = on_progress
        self._on_image = on_image
        per_image_requests = enumerate(request.per_image_requests(), start=1)
        self._left = deque((place, single) for place, single in per_image_requests if place not in attempt.made)
        self._done = len(set(attempt.made))
        self._hands: dict[str, tuple[int, int]] = {}  # by worker: the place that it draws, and the ticket of that
        self._shown: tuple[str, int] | None = None  # the worker whose steps are shown, and the ticket
        self._inbox: Inbox = queue.SimpleQueue()
        self._stopped = False
        self._error: Exception | None = None

    @property
    def goes_on(self) -> bool:
        """Whether a picture is in hand or to be given out."""
        return bool(self._left or self._hands)

    def assign(self) -> bool:
        """Give pictures to workers that are free; whether any picture is left without one."""
        while self._left:
            worker = self._fleet.take(self._left[0][1], self._attempt.job_id, self._inbox)
            if worker is None:
                break
            self._give(worker)
        return bool(self._left)

    def stop(self) -> None:
        """Give out no more, and have those who draw stop within a step."""
        self._left.clear()
        if not self._stopped:
            self._stopped = True
            for worker in self._hands:
                self._fleet.stop(worker)

    def hear(self) -> None:
        """Wait a little for what the workers say, and act on it."""
        lead = self._lead()
        said = self._received()
        ends = [(worker, message) for worker, message in said if not isinstance(message, Step)]
        images = [self._take_end(worker, message) for worker, message in ends]
        self._report([message.progress for worker, message in said if worker == lead and isinstance(message, Step)])
        for image in images:  # the next ones are being drawn while these are saved
            if image is not None:
                self._on_image(image)
                self._done += 1

    def tell_end(self) -> None:
        """Raise what stands against calling it done."""
        if self._error is not None:
            raise self._error
        if self._stopped:
            raise Cancelled

    def release(self) -> None:
        """Give back whatever is still in hand."""
        for worker in self._hands:
            self._fleet.release(worker)
        self._hands.clear()

    def _give(self, worker: str) -> None:
        place, single = self._left.popleft()
        self._hands[worker] = (place, self._fleet.draw(worker, single, self._attempt))

    def _received(self) -> list[tuple[str, Step | Ended | Lost]]:
        """All that has come in, waiting for the first; what was said before an order is left out."""
        received = []
        try:
            received.append(self._inbox.get(timeout=WAIT_SECONDS))
            while True:
                received.append(self._inbox.get_nowait())
        except queue.Empty:
            own = ((worker, said) for worker, said in received if not isinstance(said, Freed))
            return [(worker, said) for worker, said in own if self._hands.get(worker, (0, 0))[1] == said.ticket]

    def _take_end(self, worker: str, message: Ended | Lost) -> GeneratedImage | None:
        """A worker is done with its picture: it gets the next one, or is given back. The picture, if there is one."""
        place, _ = self._hands.pop(worker)
        if isinstance(message, Lost):
            self._fail(WorkerLost(message.reason))
            return None
        if message.fault is not None:
            self._fail(WorkerLost(message.fault))
        elif message.error is not None:
            log.error("job %s, picture %d failed\n%s", self._attempt.job_id, place, message.trace)
            self._fail(StudioError.from_dict(message.error))
        if self._left and self._fleet.stays(worker):
            self._give(worker)
        else:
            self._fleet.release(worker)
        return message.image and replace(message.image, place=place)

    def _fail(self, error: Exception) -> None:
        """The first error is the job's. The others finish what they have in hand: no finished work is thrown away."""
        self._error = self._error or error
        self._left.clear()

    def _lead(self) -> str | None:
        """Who draws the first of the pictures in hand: the steps and previews of that one are shown."""
        lead = min(self._hands, key=lambda worker: self._hands[worker][0], default=None)
        if lead is not None and self._shown != (lead, self._hands[lead][1]):
            self._shown = (lead, self._hands[lead][1])
            self._fleet.show(lead)
        return lead

    def _report(self, steps: Sequence[Progress]) -> None:
        """Hand on the latest steps: there are more than a few only when the database is too slow for all of them."""
        for progress in steps[-MOST_STEPS:]:
            self._on_progress(self._whole(progress))

    def _whole(self, progress: Progress) -> Progress:
        """The progress of a single picture as that of the job."""
        image = min(self._done + 1, self._request.num_images)
        return replace(progress, image=image, images=self._request.num_images, workers=max(1, len(self._hands)))
