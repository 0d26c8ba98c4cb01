"""Record a job's spans for OpenTelemetry: waiting, loading, encoding, denoising, decoding, saving. Free without its SDK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode

from core import __version__
from core.errors import StudioError
from core.types import Job, JobState, Phase

PARTS = {  # of a job, as they follow one another
    Phase.LOADING: "load",
    Phase.TEXT: "encode",
    Phase.STEPS: "denoise",
    Phase.UPSCALE: "upscale",
    Phase.DECODE: "decode",
}
SAVE = "save"  # beside the parts of the next image
_tracer = trace.get_tracer("zdarkroom", __version__)


class JobTrace:
    """The span of a claimed job, from its submission to its end, and those of its parts. Prompts are never in it."""

    def __init__(self, job: Job) -> None:
        request = job.request
        facts: dict[str, str | int] = {
            "job.id": job.id,
            "job.images": request.num_images,
            "job.model": request.model,
            "image.width": request.width,
            "image.height": request.height,
            "image.steps": request.num_inference_steps,
        }
        self._job = _tracer.start_span("job", start_time=_nanoseconds(job.created_at), attributes=facts)
        self._context = trace.set_span_in_context(self._job)
        self._phase: Phase | None = None
        self._part: Span | None = None
        if job.started_at is not None:
            waited = _tracer.start_span("queue", self._context, start_time=_nanoseconds(job.created_at))
            waited.end(_nanoseconds(job.started_at))

    def enter(self, phase: Phase) -> None:
        """End the part before and begin the one of this phase, unless it has begun."""
        if phase is not self._phase:
            self._end_part()
            self._phase = phase
            if phase in PARTS:
                self._part = _tracer.start_span(PARTS[phase], self._context)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Have a span while an image is saved; in any thread."""
        with _tracer.start_as_current_span(SAVE, self._context):
            yield

    def end(self, state: JobState, error: StudioError | None) -> None:
        """End all spans; `error` becomes the status of the job's, by its code."""
        self._end_part()
        self._job.set_attribute("job.state", state)
        if error is not None:
            self._job.set_status(Status(StatusCode.ERROR, error.code))
        self._job.end()

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.end()
            self._part = None


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
