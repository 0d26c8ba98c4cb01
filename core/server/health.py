"""Answer /_stcore/health and the metrics, and identify the viewer of a request: a user, a browser or a program.

Starting is 503. Degraded is 200, as the pages still work and say what to do; the status is in the body for whoever watches. The
middleware tells the viewer in headers that nobody else can set; the routes get the studio with the rights of that viewer.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import anyio.to_thread
import psutil
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import __version__
from core.errors import StudioError
from core.server.error_responses import Answer, nothing_here, problem
from core.server.submission import BROWSER_COOKIE, CLIENT_HEADER, PRIVATE_HEADER, ROLE_HEADER, USER_HEADER
from core.studio import Studio
from core.types import ANYONE, USER_CLIENT, Job, JobState, Viewer

PATH = "/_stcore/health"  # where the pages, and whoever watches the server, ask


class Health:
    """ASGI middleware. `get_studio` returns None until the studio is built; `in_detail` shows reasons to everyone."""

    def __init__(self, app: ASGIApp, get_studio: Callable[[], Studio | None], in_detail: Callable[[], bool]) -> None:
        self.app = app
        self._get_studio = get_studio
        self._in_detail = in_detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        status, content = await anyio.to_thread.run_sync(self.look)
        body = b"" if scope["method"] == "HEAD" else Answer(content).body
        answer = Answer(content, status_code=status, headers={"Cache-Control": "no-store"})
        answer.body = body
        answer.raw_headers.extend(await self._cookies(scope, receive))
        await answer(scope, receive, send)

    async def _cookies(self, scope: Scope, receive: Receive) -> list[tuple[bytes, bytes]]:
        """Return the cookies of the answer in whose place this one stands: with them, pages get the token that uploads need."""
        found: list[tuple[bytes, bytes]] = []

        async def hear(message: Message) -> None:
            found.extend((name, value) for name, value in message.get("headers", ()) if name.lower() == b"set-cookie")

        await self.app(scope, receive, hear)
        return found

    def look(self) -> tuple[int, dict[str, Any]]:
        """Return the status code and the answer."""
        try:
            studio = self._get_studio()
            if studio is None:
                return 503, {"status": "starting"}
            studio.queue.is_paused()  # the database answers
            problems = [studio.worker.status().trouble, *studio.settings.problems]
        except StudioError as error:
            problems = [error]
        reasons = [problem for problem in problems if problem is not None]
        if not reasons:
            return 200, {"status": "ready"}
        return 200, {"status": "degraded", "reasons": [self._reason(reason) for reason in reasons]}

    def _reason(self, error: StudioError) -> dict[str, str]:
        if not self._in_detail():
            return {"code": error.code}
        return {"code": error.code, "en": error.message("en"), "zh": error.message("zh")}


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


_CURRENT: ContextVar[Viewer] = ContextVar("viewer", default=ANYONE)


def page_client(headers: Mapping[str, str], cookies: Mapping[str, str]) -> str:
    """Return the client of a browser's jobs: the user if there are users, else a digest of the browser's cookie."""
    if name := headers.get(USER_HEADER):
        return f"{USER_CLIENT}{name}"
    cookie = cookies.get(BROWSER_COOKIE)
    name = cookie if isinstance(cookie, str) else ""  # none in a page without a browser
    return f"page:{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def viewer_of(headers: Mapping[str, str], cookies: Mapping[str, str], address: str = "") -> Viewer:
    """Return the viewer of a request. Programs are identified by X-Client-Id, else by their address."""
    admin = headers.get(ROLE_HEADER) in (None, "admin")
    private = headers.get(PRIVATE_HEADER) is not None
    if headers.get(USER_HEADER) or cookies.get(BROWSER_COOKIE):
        return Viewer(page_client(headers, cookies), admin, private)
    program = headers.get(CLIENT_HEADER) or address
    return Viewer(f"http:{hashlib.sha256(program.encode()).hexdigest()[:16]}", admin, private)


class Viewers:
    """ASGI middleware inside the gate: routes below it see the studio as the caller may."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        caller = HTTPConnection(scope)
        token = _CURRENT.set(viewer_of(caller.headers, caller.cookies, caller.client.host if caller.client else ""))
        try:
            await self.app(scope, receive, send)
        finally:
            _CURRENT.reset(token)


def viewed(get_studio: Callable[[], Studio]) -> Callable[[], Studio]:
    """Return what gives the studio with the rights of the caller whose request is answered."""
    return lambda: get_studio().seen_by(_CURRENT.get())
