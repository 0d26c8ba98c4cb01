"""Describe the state and content of a job in words."""

from __future__ import annotations

from core.types import GenerationRequest, Job, JobState, Phase, Progress
from ui import formats
from ui.i18n import t


def sentence(job: Job) -> str:
    """Return the state of a job as text."""
    progress = job.progress
    if job.held:
        return t("job.held")
    if job.state is JobState.QUEUED and job.position is None and job.not_before:
        return t("job.later", when=formats.moment(job.not_before))
    if job.state is JobState.QUEUED:
        before = (job.position or 1) - 1
        return t("job.queued", count=before) if before > 0 else t("job.next")
    if progress is None:
        return t("job.starting")
    words = [_phase(progress)]
    if progress.images > 1:
        words.append(t("job.image", image=progress.image, images=progress.images))
    if progress.workers > 1:
        words.append(t("job.workers", count=progress.workers))
    if progress.phase is Phase.LOADING and progress.total_bytes:
        read, total = formats.size_of(progress.read_bytes), formats.size_of(progress.total_bytes)
        words.append(t("job.reading", read=read, total=total))
    if progress.detail:
        words.append(progress.detail)
    if progress.phase is Phase.STEPS and (progress.eta_seconds or 0) >= 0.1:
        words.append(t("job.left", time=formats.seconds(progress.eta_seconds)))
    return " · ".join(words)


def title(request: GenerationRequest, length: int) -> str:
    """Describe a job in one line: its prompt; for a batch the first one and how many more there are."""
    words = " ".join(request.prompt.split())[:length]
    more = len({own.get("prompt", request.prompt) for own in request.images} - {request.prompt})
    return t("batch.words", prompt=words, more=more) if more else words


def _phase(progress: Progress) -> str:
    if progress.phase is Phase.STEPS:
        return t("job.step", step=progress.step, steps=progress.steps)
    return t(f"phase.{progress.phase.value}")
