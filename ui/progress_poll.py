"""Serve the progress of active jobs in a few hundred bytes, for the scripts of open pages, which ask for it often.

Rerunning a page costs a hundred times as much, so it is done only when the mark has changed: when a job came, began,
ended, moved or was stopped. What is told of the jobs is the same for every tab of a language and is made once for all of
them; which of them are the viewer's is added for each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.errors import LANGUAGES
from core.server import USER_HEADER, page_client, viewer_of
from core.studio import Studio
from core.types import Job, JobState, Progress, QueueSnapshot
from ui.formats import sentence
from ui.state import session

PATH = "/pulse"


def route(get_studio: Callable[[], Studio]) -> Route:
    """Return the route GET /pulse?lang=en. `get_studio` is called at each request."""
    made: dict[tuple[str, str], tuple[QueueSnapshot, dict[str, Any]]] = {}  # the snapshot, and the answer made of it

    def pulse(request: Request) -> Response:
        asked = request.query_params.get("lang", "")
        language = asked if asked in LANGUAGES else LANGUAGES[0]
        viewer = viewer_of(request.headers, request.cookies)
        studio = get_studio().seen_by(viewer)
        snapshot = studio.queue.snapshot()
        whose = (language, viewer.client if viewer.private else "")
        kept = made.get(whose)
        if kept is None or kept[0] is not snapshot:
            kept = made[whose] = (snapshot, answer(snapshot, language))
        guarded = USER_HEADER in request.headers
        client = page_client(request.headers, request.cookies) if guarded else None
        body = json.dumps({**kept[1], **own(studio, snapshot, client)}, ensure_ascii=False)
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    return Route(PATH, pulse)


def address() -> str:
    """Return the address that this viewer's pages poll."""
    return f"{PATH}?lang={session.language()}"


def answer(snapshot: QueueSnapshot, language: str) -> dict[str, Any]:
    """Return the mark, the number of active jobs, and what is to be shown of each job in work."""
    with session.speaking(language):
        jobs = {job.id: shown(job) for job in snapshot.jobs if job.state is not JobState.QUEUED}
    return {"mark": mark(snapshot), "total": snapshot.total, "jobs": jobs}


def own(studio: Studio, snapshot: QueueSnapshot, client: str | None) -> dict[str, Any]:
    """Return the number of active jobs of a client, and which of them are in work; without a client, of all."""
    jobs = [job for job in snapshot.jobs if client in (None, job.client)]
    whole = snapshot.total <= len(snapshot.jobs)
    count = len(jobs) if whole else studio.queue.count_active(client)
    return {"mine": count, "running": [job.id for job in jobs if job.state is not JobState.QUEUED]}


def shown(job: Job) -> dict[str, Any]:
    """Return text, progress (0 to 1), the index of the running image, and the address of its preview if there is one."""
    progress = job.progress
    return {
        "words": sentence(job),
        "done": progress.fraction if progress else 0.0,
        "image": progress.image if progress else 0,
        "images": list(job.image_ids),
        "src": preview_url(job.id, progress) if progress and progress.preview_step else "",
    }


def mark(snapshot: QueueSnapshot) -> str:
    """Return a value that changes with everything a page shows of the queue except the progress of running jobs."""
    jobs = [
        (
            job.id,
            job.state is JobState.QUEUED,
            job.position,
            job.held,
            job.not_before,
            job.cancel_requested,
            str(job.error),
        )
        for job in snapshot.jobs
    ]
    return hashlib.sha256(repr((jobs, snapshot.paused, snapshot.newest)).encode()).hexdigest()[:16]


def preview_url(job_id: str, progress: Progress) -> str:
    """Return the address of the preview; it changes when there is a new one."""
    return f"/api/jobs/{job_id}/preview?at={progress.image}.{progress.preview_step}"
