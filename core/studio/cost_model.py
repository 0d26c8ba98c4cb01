"""Predict seconds and peak memory of an image from what past images of the same model took."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.inference.workload import Workload

NEAR = 0.35  # of the logarithm of pixels: images of 1.4 times the size tell a third as much
OTHER_OPTION = 0.5  # what an image still tells for each option that it has other than the request
AGEING = 0.97  # from an image to the one before it
SIZES_APART = 1.3  # of pixels: closer sizes say nothing of how memory grows
TIMELESS = (
    "output.",
    "preview.",
    "precision.auto_retry",
    "resume.",
    "metadata.",
)  # options that cost no time worth telling


@dataclass(frozen=True)
class Sample:
    """One past image: its work, the seconds of each phase, its options and its peak in bytes of the memory that it was read of.

    `memory` names how the model was held in memory: only images that are alike in it tell of the peak.
    """

    work: Workload
    seconds: Mapping[str, float]
    options: Mapping[str, Any]
    peak: int | None = None
    memory: Any = None


def seconds(work: Workload, options: Mapping[str, Any], samples: Sequence[Sample]) -> dict[str, float] | None:
    """Return the seconds of each phase of an image; None without samples. `samples` begin with the latest."""
    found = {}
    for phase, operations in work.operations.items():
        rates = [
            (one.seconds[phase] / one.work.operations[phase], _weight(one, k, work, options))
            for k, one in enumerate(samples)
            if one.work.operations.get(phase) and phase in one.seconds
        ]
        if rates:
            found[phase] = _middle(rates) * operations
    return found or None


def peak(work: Workload, memory: Any, samples: Sequence[Sample], bytes_a_pixel: float) -> int | None:
    """Return the peak in bytes; None where no image was made with the model held like this.

    Memory grows with the pixels as the samples say, or by `bytes_a_pixel` where all have one size.
    """
    alike = [(one.work.pixels, one.peak) for one in samples if one.peak and one.memory == memory]
    if not alike:
        return None
    slope = _slope(alike, bytes_a_pixel)
    nearest = min(abs(math.log(pixels / work.pixels)) for pixels, _ in alike)
    near = [one for one in alike if abs(math.log(one[0] / work.pixels)) <= nearest + 0.1]
    return int(_middle([(value + slope * (work.pixels - pixels), 1.0) for pixels, value in near]))


def _slope(points: Sequence[tuple[int, int]], computed: float) -> float:
    """Return the bytes for each more pixel, by least squares; never less than 0."""
    sizes = [pixels for pixels, _ in points]
    if max(sizes) < SIZES_APART * min(sizes):
        return computed
    centre, level = sum(sizes) / len(sizes), sum(value for _, value in points) / len(points)
    spread = sum((pixels - centre) ** 2 for pixels in sizes)
    return max(0.0, sum((pixels - centre) * (value - level) for pixels, value in points) / spread)


def _weight(one: Sample, age: int, work: Workload, options: Mapping[str, Any]) -> float:
    distance = abs(math.log(one.work.pixels / work.pixels)) / NEAR
    others = sum(one.options.get(key, value) != value for key, value in options.items() if not key.startswith(TIMELESS))
    return math.exp(-distance) * OTHER_OPTION**others * AGEING**age


def _middle(weighted: Sequence[tuple[float, float]]) -> float:
    """Return the weighted median."""
    ordered = sorted(weighted)
    half, passed = sum(weight for _, weight in ordered) / 2, 0.0
    for value, weight in ordered:
        passed += weight
        if passed >= half:
            return value
    return ordered[-1][0]


def computed_seconds(work: Workload, operations_a_second: float) -> dict[str, float]:
    """Return the seconds of each phase where no image was measured: by the speed of multiplying matrices."""
    return {phase: count / operations_a_second for phase, count in work.operations.items() if phase != "upscale"}
