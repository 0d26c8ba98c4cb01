"""Estimate the remaining time of a running job, from its own images and from past ones of the same kind."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection

from core.types import GeneratedImage, GenerationRequest, Progress

MAX_LOOKUPS = 20  # kinds of a job whose past is looked up; the rest is judged by these

Kind = tuple[int, int, int, bool]  # width, height, steps, with guidance or without: what the time depends on in a job
Past = Callable[[GenerationRequest], float | None]  # seconds that images like this one took; None before the first


class EtaEstimator:
    """Estimate the remaining time of one running job. Images in `made` (indices from 1) exist and need no time."""

    def __init__(self, request: GenerationRequest, made: Collection[int], past: Past) -> None:
        per_image_requests = request.per_image_requests()
        self._kinds = [_kind(single) for single in per_image_requests]
        self._made = made
        kinds = dict(zip(self._kinds, per_image_requests, strict=True))
        self._past = {kind: past(single) if k < MAX_LOOKUPS else None for k, (kind, single) in enumerate(kinds.items())}
        self._own: dict[Kind, list[float]] = {}
        self._reads_each = len({(single.prompt, single.negative_prompt) for single in per_image_requests}) > 1

    def learn(self, image: GeneratedImage) -> None:
        """Use the timings of an image of this job, which tell more than past jobs. A shared prompt is encoded only once."""
        parts = [seconds for part, seconds in image.timings.items() if self._reads_each or part != "text"]
        self._own.setdefault(_kind(image.request), []).append(sum(parts))

    def left(self, progress: Progress) -> float | None:
        """Return the seconds until the job's last image; the generator's own estimate while nothing is known."""
        each = self._seconds()
        if not each:
            return progress.eta_seconds
        present = progress.image - 1
        to_come = sum(each[kind] for k, kind in enumerate(self._kinds) if k > present and k + 1 not in self._made)
        begun = 1 - progress.step / progress.steps if progress.steps else 1.0
        return (to_come + each[self._kinds[present]] * begun) / progress.workers

    def _seconds(self) -> dict[Kind, float]:
        """Return the seconds for an image of each kind; unknown kinds are scaled from known ones by their work."""
        known = {kind: seconds for kind, seconds in self._past.items() if seconds is not None}
        known |= {kind: statistics.fmean(seconds) for kind, seconds in self._own.items()}
        if not known:
            return {}
        rate = sum(known.values()) / sum(_work(kind) for kind in known)
        return {kind: known.get(kind, rate * _work(kind)) for kind in self._past}


def _kind(request: GenerationRequest) -> Kind:
    return request.width, request.height, request.num_inference_steps, request.guided


def _work(kind: Kind) -> int:
    """Return the work of an image in pixel steps; with guidance each step runs twice."""
    width, height, steps, guided = kind
    return width * height * steps * (1 + guided)
