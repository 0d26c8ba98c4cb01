"""Report the progress of an image, and measure its time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch

from core.models.families.backend import OnProgress, Report
from core.types import Phase, Progress


class Reporter:
    """Turns steps of image `image` into Progress, with an estimate of the time left for the whole request."""

    def __init__(self, on_progress: OnProgress, steps: int, image: int, images: int) -> None:
        self._on_progress = on_progress
        self._steps = steps
        self._image = image
        self._images = images
        self._began = time.perf_counter()
        self._preview_step = 0

    def of(self, phase: Phase, step: int, steps: int) -> None:
        """Report a step of a phase that counts its own steps."""
        self._steps = steps
        self(phase, step)

    def __call__(self, phase: Phase, step: int, preview: bytes | None = None) -> None:
        steps, images = self._steps, self._images
        left = (images - self._image) * steps + steps - step
        eta = (time.perf_counter() - self._began) / step * left if step else None
        if preview is not None:
            self._preview_step = step
        self._on_progress(
            Progress(phase, step, steps, self._image, images, eta, preview=preview, preview_step=self._preview_step)
        )


def part_of(report: Report, before: int, steps: int) -> Report:
    """Report steps as those of the whole image: `before` were those of the passes before, `steps` are this one's.

    A scheduler such as PNDM takes a step more than it says.
    """

    def report_part(phase: Phase, step: int, preview: bytes | None = None) -> None:
        report(phase, before + min(step, steps), preview)

    return report_part


def summed(timings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the seconds of each part, summed over passes."""
    return {part: sum(one[part] for one in timings) for part in timings[0]}


def now(device: str) -> float:
    """Return the time once the GPU has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
