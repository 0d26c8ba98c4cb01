"""Show this session's jobs and images at the right: the next jobs with their progress, then the images, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import StudioError
from core.studio import Studio
from core.types import ImageRecord, Job, JobState, QueueSnapshot
from ui.components import custom_components
from ui.i18n import t
from ui.state import generate_page as generate_state
from ui.state import session

MOST_JOBS = 60  # of all clients, of which the viewer's are shown
MOST_IMAGES = 24
MOST_WAITING = 6


@dataclass(frozen=True)
class Session:
    """What the viewer asked for: the job in work, those that wait, and the images of those that ended."""

    running: Job | None
    waiting: Sequence[Job]
    records: Sequence[ImageRecord]


def read(studio: Studio, snapshot: QueueSnapshot) -> Session:
    """Return the jobs and images of this viewer; nobody else's images come to the stage by themselves."""
    client = session.client()
    active = [job for job in snapshot.jobs if job.client == client or job.id == generate_state.job_id()]
    working = [job for job in active if job.state is not JobState.QUEUED]
    waiting = [job for job in active if job.state is JobState.QUEUED]
    ids: list[str] = []
    for job in studio.queue.recent(MOST_JOBS):
        if job.client == client or job.id == generate_state.job_id():
            ids.extend(image_id for image_id in reversed(job.image_ids) if image_id not in ids)
    return Session(working[0] if working else None, waiting, _records(studio, ids[:MOST_IMAGES]))


def _records(studio: Studio, ids: Sequence[str]) -> list[ImageRecord]:
    """Return those that are still there."""
    found = []
    for image_id in ids:
        try:
            record = studio.history.get(image_id)
        except StudioError:
            continue
        if record.trashed_at is None:
            found.append(record)
    return found


def draw(mine: Session) -> None:
    """Show the strip; a click shows an image, or follows the job."""
    jobs = [*([mine.running] if mine.running else []), *mine.waiting[:MOST_WAITING]]
    if not jobs and not mine.records:
        return
    custom_components.session_view(
        jobs, mine.records, t("generate.strip"), generate_state.stage_image(), key="strip", on_pick=_pick, on_job=_follow
    )


def _pick(image_id: str) -> None:
    generate_state.show_image(image_id)
    generate_state.set_stage_tab(generate_state.RESULT)


def _follow(job_id: str) -> None:
    generate_state.watch(job_id)
    generate_state.set_stage_tab(generate_state.RESULT)
