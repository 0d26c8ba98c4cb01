"""Define jobs in the queue and their estimates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from core.types.generation import GenerationRequest, Progress

if TYPE_CHECKING:
    from core.errors import StudioError


class JobState(StrEnum):
    """queued -> loading -> running -> done | failed | cancelled. What is interrupted or retried is queued again."""

    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Return True while the job can change."""
        return self in (JobState.QUEUED, JobState.LOADING, JobState.RUNNING)


@dataclass(frozen=True)
class SubmitOptions:
    """How a request is queued: for which client, with which priority, from when on.

    A `key` makes adding idempotent: the same key of the same client gives the job that is there already, provided that
    `key_digest`, which stands for what was asked, is the same too.
    """

    client: str = ""  # who asked: a browser, a program; "" is nobody in particular
    priority: int = 0  # -100 to 100; the highest runs first, equals in the order of arrival
    not_before: datetime | None = None  # aware; the job waits at least until then
    held: bool = False  # waits until it is resumed
    key: str | None = None
    key_digest: str | None = None


@dataclass(frozen=True)
class QueueSnapshot:
    """Running jobs, then waiting ones in the order of running, at one moment; at most the first 200."""

    jobs: tuple[Job, ...]
    paused: bool
    newest: int  # number of the latest job, 0 before the first
    total: int = 0  # of all that can change; `jobs` are the first of them


@dataclass(frozen=True)
class Job:
    """An immutable snapshot of one row of the queue.

    While the job is active, `error` says what ended the attempt before this one, or what the job waits for.
    """

    id: str
    state: JobState
    request: GenerationRequest
    created_at: datetime  # aware, UTC
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: Progress | None = None
    image_ids: tuple[str, ...] = ()
    error: StudioError | None = None
    position: int | None = None  # 1 = next to run; None when it isn't waiting for its turn (running, held, for later)
    cancel_requested: bool = False
    client: str = ""
    priority: int = 0
    not_before: datetime | None = None
    held: bool = False  # paused: it keeps its place and its images until it is resumed
    crashes: int = 0  # how often a worker died with this job in hand


@dataclass(frozen=True)
class Estimate:
    """Time and memory of a whole request. Memory and disk count in MB of 1000 kB, as options do.

    `seconds` and `load_seconds` are None until something was measured on this machine; `load_seconds` is 0 while the model is
    loaded. `measured` tells how many past images of the model the figures come from; with 0 they are computed.
    """

    seconds: float | None
    load_seconds: float | None
    vram_mb: int
    ram_mb: int
    disk_mb: int
    fits: bool
    tier: str
    reasons: tuple[Mapping[str, str], ...]  # language -> sentence
    measured: int = 0
