"""How long a job still takes: learned from past pictures of its kind, then from its own.

What this module does not know: where past pictures are kept.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection
from dataclasses import dataclass, field

from core.types import GenerationRequest, Picture, Progress


@dataclass
class Pace:
    """Of one job in work. `past` is the seconds that pictures of its kind took; `made` the seeds that need no time."""

    request: GenerationRequest
    made: Collection[int]
    past: float | None
    _own: list[float] = field(default_factory=list)

    def learn(self, picture: Picture) -> None:
        """A picture of this job is done: what it took tells more than any past. The prompt is read only once."""
        self._own.append(sum(seconds for part, seconds in picture.timings.items() if part != "text"))

    def left(self, progress: Progress) -> float | None:
        """Seconds until the job's last picture; what the generator itself says where nothing is known yet."""
        each = statistics.fmean(self._own) if self._own else self.past
        if each is None:
            return progress.eta_seconds
        seeds = range(self.request.seed + progress.image, self.request.seed + self.request.num_images)
        to_come = sum(seed not in self.made for seed in seeds)
        begun = 1 - progress.step / progress.steps if progress.steps else 1.0
        return each * (to_come + begun)
