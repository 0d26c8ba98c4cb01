"""Serve GET /metrics in Prometheus' text format. Off unless `server.metrics` is set; behind authentication."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import psutil
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from core import __version__
from core.server.error_responses import nothing_here, problem
from core.studio import Studio
from core.types import Job, JobState

RECENT = 200  # jobs that times and errors are taken from
KIND = "text/plain; version=0.0.4; charset=utf-8"
_QUANTILES = (0.5, 0.9, 0.99)
Sample = tuple[dict[str, str], float]


def metrics_route(get_studio: Callable[[], Studio]) -> Route:
    """Return the route; 404 while it is off."""

    def metrics(_request: Request) -> Response:
        studio = get_studio()
        if not studio.settings.server.metrics:
            return problem(nothing_here(), 404)
        return PlainTextResponse("".join(write(studio)), media_type=KIND)

    return Route("/metrics", metrics)


def write(studio: Studio) -> Iterator[str]:
    """Yield the lines."""
    totals, worker = studio.queue.totals(), studio.worker.status()
    recent = [job for job in studio.queue.recent(RECENT) if not job.state.active]
    yield _metric("info", "gauge", "Version of the studio.", [({"version": __version__}, 1)])
    yield _metric("jobs", "gauge", "Jobs by state.", [({"state": state}, n) for state, n in totals.items()])
    yield _metric("queue_length", "gauge", "Jobs that wait.", [({}, float(totals.get(JobState.QUEUED, 0)))])
    yield _metric("queue_paused", "gauge", "1 while the queue is paused.", [({}, float(studio.queue.is_paused()))])
    yield _metric(
        "job_wait_seconds", "summary", f"From submission to start, of the latest {RECENT} jobs.", _waits(recent)
    )
    yield _metric("job_run_seconds", "summary", f"From start to end, of the latest {RECENT} jobs.", _runs(recent))
    errors = Counter(job.error.code for job in recent if job.state is JobState.FAILED and job.error is not None)
    samples: list[Sample] = [({"code": code}, float(count)) for code, count in sorted(errors.items())]
    yield _metric("job_errors", "gauge", f"Errors of the latest {RECENT} jobs, by code.", samples)
    yield _metric("worker_up", "gauge", "1 while a worker runs.", [({}, float(worker.pid is not None))])
    state: list[Sample] = [({"state": worker.state, "model": worker.model or "", "device": worker.device or ""}, 1.0)]
    yield _metric("worker_state", "gauge", "State, model and device of the worker.", state)
    if worker.memory_bytes is not None:
        yield _metric("worker_memory_bytes", "gauge", "RAM of the worker.", [({}, float(worker.memory_bytes))])
    gpus: list[Sample] = [
        ({"worker": one.id, "gpu": one.gpu, "kind": kind}, float(value))
        for one in worker.workers
        if one.memory_total
        for kind, value in (("total", one.memory_total), ("free", one.memory_free), ("own", one.memory_own))
    ]
    yield _metric("gpu_memory_bytes", "gauge", "VRAM of the workers of a cluster.", gpus)
    memory = psutil.virtual_memory()
    yield _metric("machine_memory_available_bytes", "gauge", "RAM that is free.", [({}, float(memory.available))])


def _waits(jobs: Sequence[Job]) -> list[Sample]:
    return _quantiles([(job.started_at - job.created_at).total_seconds() for job in jobs if job.started_at])


def _runs(jobs: Sequence[Job]) -> list[Sample]:
    ended = [(job.started_at, job.finished_at) for job in jobs]
    return _quantiles([(end - start).total_seconds() for start, end in ended if start is not None and end is not None])


def _quantiles(seconds: Sequence[float]) -> list[Sample]:
    ordered = sorted(max(0.0, one) for one in seconds)
    return [
        ({"quantile": f"{share:g}"}, ordered[min(len(ordered) - 1, int(share * len(ordered)))])
        for share in _QUANTILES
        if ordered
    ]


def _metric(name: str, kind: str, text: str, samples: Sequence[tuple[dict[str, str], float]]) -> str:
    """Return one metric with its samples, "" without any."""
    if not samples:
        return ""
    lines = [f"# HELP zdarkroom_{name} {text}", f"# TYPE zdarkroom_{name} {kind}"]
    for labels, value in samples:
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"zdarkroom_{name}{f'{{{shown}}}' if shown else ''} {value:.12g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
