"""Define jobs in the queue and their estimates, benchmarks, studies of why two images differ, and whoever looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

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


USER_CLIENT = "user:"  # how the client of a user's jobs begins


@dataclass(frozen=True)
class Viewer:
    """Who looks. With `private`, images and jobs belong to users, and each user has an own history.

    `client` is what the viewer's jobs are stored under; it also tells who has unlocked a hidden collection.
    """

    client: str = ""
    admin: bool = True
    private: bool = False

    @property
    def owner(self) -> str:
        """Return the owner that the viewer's images are stored with: the client of a user, "" for everyone else."""
        return self.client if self.client.startswith(USER_CLIENT) else ""

    def owns(self, client: str) -> bool:
        """Return True for jobs of this client that the viewer may see: the own ones; an admin's are also those of no user."""
        if not self.private:
            return True
        return client == self.client or (self.admin and not client.startswith(USER_CLIENT))


ANYONE = Viewer()  # the command line, and a studio without users


@dataclass(frozen=True)
class Usage:
    """How much a user has generated."""

    images: int = 0  # in the history, the trash included
    disk_bytes: int = 0
    images_last_hour: int = 0  # of jobs that wait, run, or ended within an hour
    megapixels_last_hour: float = 0.0


@dataclass(frozen=True)
class BenchmarkColumn:
    """One column of a benchmark: a model and its values by schema key. One job generates all its images.

    Size and kind of the model are those of the day on which the benchmark was made.
    """

    name: str
    model: str
    values: Mapping[str, Any] = field(default_factory=dict)
    disk_bytes: int = 0
    embedded: bool = False  # the model that is shipped, whose images can be asked whether they obey their prompt
    job: str = ""


@dataclass(frozen=True)
class Benchmark:
    """The same prompts and seeds generated by each of several columns."""

    id: str
    created_at: datetime  # aware, UTC
    columns: tuple[BenchmarkColumn, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """Return prompt and seed of each image of a column, in the order of its job."""
        return tuple((prompt, seed) for prompt in self.prompts for seed in self.seeds)


@dataclass(frozen=True)
class Vote:
    """Which of two images is preferred in a blind vote: columns `one` < `other` at the same index."""

    place: int  # of both images in their columns' jobs, from 1
    one: int
    other: int
    winner: int | None  # a column; None: neither
    voter: str = ""


@dataclass(frozen=True)
class WhyChange:
    """What is changed in one step between two images: parameters by name, each with its value before and after.

    Names are "prompt", "size", "seed" and so on, or keys of options. Several stand together where only all of them at once
    give a request that can be generated.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    environment: bool = False  # not asked for: what was in effect then, such as the dtype that "auto" meant


@dataclass(frozen=True)
class WhyPlan:
    """What is to be generated: the first image, then one after each change, in this order."""

    one: str  # id of the first image
    other: str
    changes: tuple[WhyChange, ...]
    size: tuple[int, int]  # of the larger of both images as it is generated
    fixed: tuple[tuple[str, Any, Any], ...] = ()  # known differences that can't be switched: versions, files

    @property
    def renders(self) -> int:
        """Return how many images are generated."""
        return len(self.changes) + 1


@dataclass(frozen=True)
class WhyStudy:
    """A plan whose images are in the queue; `jobs` are in the order of the strip."""

    id: str
    created_at: datetime
    plan: WhyPlan
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class WhyStep:
    """One change: the image after it, its mean distance to the image before it, and its rank by that, from 1.

    `distance` is the mean absolute difference of all channels, 0 to 255; None while an image is missing.
    """

    change: WhyChange
    image_id: str = ""
    distance: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class WhyReport:
    """How far a study is, and what it has found."""

    study: WhyStudy
    first_image: str  # id; "" before it is generated
    steps: tuple[WhyStep, ...] = field(default_factory=tuple)
    done: int = 0  # images
    active: bool = False
    failed: int = 0  # jobs that failed or were cancelled

    @property
    def ranked(self) -> tuple[WhyStep, ...]:
        """Return the measured changes, the one that moved the image most first."""
        return tuple(sorted((step for step in self.steps if step.rank), key=lambda step: step.rank or 0))
