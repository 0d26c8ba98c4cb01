"""Write numbers, times and states of jobs in the viewer's language and timezone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from core.types import GenerationRequest, Job, JobState, Phase, Progress
from ui.i18n import t

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def seconds(value: float | None) -> str:
    """Format a duration: 0.08 s, 3.1 s, 74 s, 12 min, 31 h."""
    if value is None:
        return "–"
    if value >= 36_000:
        return f"{value / 3600:.0f} h"
    if value >= 600:
        return f"{value / 60:.0f} min"
    return f"{value:.2f} s" if value < 0.1 else f"{value:.1f} s" if value < 20 else f"{value:.0f} s"


def size_of(count: int | None) -> str:
    """Format bytes in the largest unit with a number of at least one, in powers of 1000 as hubs and disks are labelled."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit in ("B", "KB", "MB") else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def pixels(width: int, height: int) -> str:
    """Format a size, such as 1024 × 768."""
    return f"{width}×{height}"


def moment(when: datetime) -> str:
    """Format a time in the viewer's time zone."""
    return when.astimezone(local_zone()).strftime("%Y-%m-%d %H:%M:%S")


def literal(text: object) -> str:
    """Return text that is shown as it is where Streamlit reads Markdown: captions, warnings, labels of buttons.

    Whatever a user or a file named passes through here: an image address in a name must not call another server.
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def plain(value: Any) -> str:
    """Format a setting's value without Python's spelling."""
    if isinstance(value, bool):
        return t("value.on") if value else t("value.off")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return "–" if value is None else str(value)


def local_zone() -> tzinfo:
    """Return the time zone of the browser, else UTC."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def sentence(job: Job) -> str:
    """Return the state of a job as text."""
    progress = job.progress
    if job.held:
        return t("job.held")
    if job.state is JobState.QUEUED and job.position is None and job.not_before:
        return t("job.later", when=moment(job.not_before))
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
        read, total = size_of(progress.read_bytes), size_of(progress.total_bytes)
        words.append(t("job.reading", read=read, total=total))
    if progress.detail:
        words.append(progress.detail)
    if progress.phase is Phase.STEPS and (progress.eta_seconds or 0) >= 0.1:
        words.append(t("job.left", time=seconds(progress.eta_seconds)))
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
