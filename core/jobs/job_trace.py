"""Estimate how long a job still takes, and record jobs: spans for OpenTelemetry (free without its SDK), and a log."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode

from core import __version__
from core.errors import StudioError
from core.types import GeneratedImage, GenerationRequest, Job, JobState, Phase, Progress

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


JOB_LOG_FILE = "logs/jobs.jsonl"  # below the output folder of the machine that runs the jobs
JOB_LOG_BYTES, JOB_LOG_BACKUPS = 10_000_000, 3


class JobLog:
    """The file that the lines are appended to, rotated at 10 MB. Thread-safe; nothing is written unless `worker.job_log` is set."""

    def __init__(self, directory: Path, values: Mapping[str, Any]) -> None:
        self._handler: RotatingFileHandler | None = None
        if values.get("worker.job_log"):
            path = directory / JOB_LOG_FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handler = RotatingFileHandler(
                path, maxBytes=JOB_LOG_BYTES, backupCount=JOB_LOG_BACKUPS, encoding="utf-8", delay=True
            )

    def write(self, job: Job, state: JobState, error: StudioError | None, seconds: float) -> None:
        """Append the line of a job that ran for `seconds` and is in `state` now; queued: it was paused or interrupted."""
        if self._handler is not None:
            line = json.dumps(_log_line(job, state, error, seconds), ensure_ascii=False)
            self._handler.emit(logging.makeLogRecord({"msg": "%s", "args": (line,)}))


def _log_line(job: Job, state: JobState, error: StudioError | None, seconds: float) -> dict[str, Any]:
    request = job.request
    waited = (job.started_at - job.created_at).total_seconds() if job.started_at is not None else None
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "job": job.id,
        "state": state,
        "client": job.client,
        "model": request.model,
        "images": request.num_images,
        "width": request.width,
        "height": request.height,
        "steps": request.num_inference_steps,
        "wait_seconds": waited,
        "run_seconds": round(seconds, 3),
        "crashes": job.crashes,
        "error": error.code if error is not None else None,
    }


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
