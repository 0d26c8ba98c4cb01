"""The nouns of the studio: frozen dataclasses that travel from the form to the history page.

Data goes one way: form -> GenerationRequest -> queue -> worker -> GenerationResult -> storage -> Job and ImageRecord -> page.
What this module does not know: Streamlit, SQL, torch, files, YAML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Pillow is needed by whoever makes or saves a picture, not by whoever carries a request
    from PIL.Image import Image

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
        """True while the job can still change."""
        return self in (JobState.QUEUED, JobState.LOADING, JobState.RUNNING)


class Phase(StrEnum):
    """What the worker is doing for a job right now."""

    LOADING = "loading"
    TEXT = "text"
    STEPS = "steps"
    DECODE = "decode"
    SAVE = "save"


OWN_FIELDS = (  # of a request: what each picture of a batch may have of its own
    "prompt", "template", "negative_prompt", "width", "height", "num_inference_steps", "guidance_scale", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class GenerationRequest:
    """Everything that decides a picture. Complete: after `Studio.submit` no field is left to a default.

    `width` and `height` are the pixels of the delivered file; `options` holds every advanced option by its schema key
    (such as ``vae.enable_tiling``), so that the record of a picture never depends on a configuration file of that day.
    The prompt is what is drawn; `template`, where it is not empty, is what the prompt was made of (see core.batch).
    A batch says in `pictures` what each picture has other than the request itself; there is one entry a picture, then.
    """

    prompt: str
    negative_prompt: str = ""
    model: str = "demo"
    width: int = 256
    height: int = 256
    num_inference_steps: int = 8
    guidance_scale: float = 0.0
    seed: int = -1
    num_images: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    pictures: tuple[Mapping[str, Any], ...] = ()  # values by names of OWN_FIELDS

    def singles(self) -> tuple[GenerationRequest, ...]:
        """One request for each picture, each the picture that its request makes alone. In no batch picture k has seed + k."""
        if self.pictures:
            return tuple(replace(self, num_images=1, pictures=(), **own) for own in self.pictures)
        return tuple(replace(self, seed=self.seed + k, num_images=1) for k in range(self.num_images))


@dataclass(frozen=True)
class Decision:
    """An automatic choice: what was asked, what is in effect, and why, in both languages."""

    option: str
    requested: Any
    effective: Any
    reason: Mapping[str, str]  # language -> sentence


@dataclass(frozen=True)
class Progress:
    """Where a running job is. `step` of `steps` counts the denoising steps of picture `image` of `images` (both from 1)."""

    phase: Phase
    step: int = 0
    steps: int = 0
    image: int = 1
    images: int = 1
    eta_seconds: float | None = None
    detail: str = ""
    preview: bytes | None = None  # a small WebP of the forming picture; None = unchanged

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, 0 to 1, by pictures and by the steps of the present one."""
        if not self.steps or (self.phase in (Phase.LOADING, Phase.TEXT) and self.image == 1):
            return 0.0
        return min(1.0, (self.image - 1 + self.step / self.steps) / self.images)


@dataclass(frozen=True)
class Picture:
    """One finished picture, still in memory. Sizes are (width, height) in pixels, times in seconds."""

    image: Image
    request: GenerationRequest  # a single: its seed is this picture's
    rendered_size: tuple[int, int]  # what the model drew, a multiple of 16
    timings: Mapping[str, float]  # text, steps, decode
    effective: Mapping[str, Any]  # resolved values: device, dtype, scheduler, attention, versions, model revision ...
    decisions: tuple[Decision, ...] = ()
    peak_memory_bytes: int | None = None
    place: int = 1  # which of its job's pictures this is, from 1


@dataclass(frozen=True)
class GenerationResult:
    """All the pictures of one request, in order."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class JobTerms:
    """How a request is queued: for whom, how urgently, from when on.

    A `key` makes adding idempotent: the same key of the same client gives the job that is there already, provided that
    `key_digest`, which stands for what was asked, is the same too.
    """

    client: str = ""  # who asked: a browser, a program; "" is nobody in particular
    priority: int = 0  # -100 to 100; the highest runs first, equals in the order of arrival
    not_before: datetime | None = None  # aware; the job waits at least until then
    held: bool = False  # it waits until it is told to go on
    key: str | None = None
    key_digest: str | None = None


@dataclass(frozen=True)
class Job:
    """An immutable snapshot of one row of the queue.

    While the job is active, `error` says what ended the attempt before this one.
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
    held: bool = False  # paused: it keeps its place and its pictures until it is resumed
    crashes: int = 0  # how often a worker died with this job in hand


@dataclass(frozen=True)
class Marks:
    """What people say of a picture. `rating` 0 (none) to 5; tags and collections in alphabetical order."""

    rating: int = 0
    favourite: bool = False
    note: str = ""
    tags: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()


@dataclass(frozen=True)
class MarkChange:
    """What to change of the marks of one picture or many; None and () leave things as they are."""

    rating: int | None = None
    favourite: bool | None = None
    note: str | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    add_collections: tuple[str, ...] = ()
    remove_collections: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageRecord:
    """A row of the history: a picture on disk and everything that made it."""

    id: str
    job_id: str | None
    created_at: datetime  # aware, UTC
    file: str  # relative to the output directory, with forward slashes
    format: str  # png, jpeg or webp
    width: int
    height: int
    bytes: int
    request: GenerationRequest  # a single, as requested (seed resolved)
    rendered_size: tuple[int, int]
    timings: Mapping[str, float]
    effective: Mapping[str, Any]
    decisions: tuple[Decision, ...] = ()
    peak_memory_bytes: int | None = None
    missing: bool = False  # the row is here, the file is not
    marks: Marks = Marks()
    trashed_at: datetime | None = None  # aware, UTC; in the trash since then
    place: int | None = None  # which of its job's pictures this is, from 1; unknown of pictures of earlier versions


@dataclass(frozen=True)
class FoundParameters:
    """What a picture file says of how it was made. `program` is "" when it says nothing."""

    program: str
    values: Mapping[str, Any]  # by schema key, checked: these can be used
    unused: Mapping[str, str]  # by the other program's names: what has no equivalent here


@dataclass(frozen=True)
class Difference:
    """How two pictures differ, in steps of 8 bits; `changed` is a share of the pixels, `psnr` in dB (infinite: identical)."""

    same_size: bool
    largest: int = 0
    mean: float = 0.0
    changed: float = 0.0
    psnr: float = 0.0

    @property
    def identical(self) -> bool:
        """Every pixel is the same."""
        return self.same_size and self.largest == 0


@dataclass(frozen=True)
class Change:
    """A condition of a picture that is not what it was, such as the version of a library."""

    name: str
    before: Any
    now: Any


@dataclass(frozen=True)
class Verdict:
    """A picture and its second making compared; `reasons` are known conditions that changed."""

    difference: Difference
    reasons: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Axis:
    """One option of a sweep, by schema key, and the values it takes."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Sheet:
    """A sweep: the picture it came from, one or two axes, and a job for each cell, row by row."""

    id: str
    created_at: datetime  # aware, UTC
    image_id: str
    axes: tuple[Axis, ...]
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class TakenIn:
    """What became of the pictures of a folder: ids of the new ones, how many were here, and those that can't be."""

    new: tuple[str, ...]
    known: int
    refused: tuple[StudioError, ...]


@dataclass(frozen=True)
class HistoryQuery:
    """A filter over the history. None or "" means: any. Dates are aware; sizes in pixels.

    `text` finds pictures with every one of its words in a prompt; Chinese needs no spaces. A page begins behind `cursor`,
    or, without one, at `offset` (how a gallery jumps to its middle).
    """

    text: str = ""
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    format: str | None = None
    min_steps: int | None = None
    max_steps: int | None = None
    min_guidance: float | None = None
    max_guidance: float | None = None
    min_rating: int | None = None
    favourite: bool | None = None
    missing: bool | None = None
    tag: str | None = None
    collection: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # advanced options by schema key, at exactly this value
    ids: tuple[str, ...] = ()  # of these only
    without: tuple[str, ...] = ()  # and none of these
    trashed: bool = False  # True: the trash, and nothing else
    sort: str = "created_at"  # or seed, width, height, num_inference_steps, guidance_scale, seconds, rating, model ...
    descending: bool = True
    limit: int = 60
    cursor: str | None = None  # opaque: HistoryPage.next_cursor of the page before
    offset: int = 0


Chosen = Sequence[str] | HistoryQuery  # what is acted on: pictures by id, or all that a question finds


@dataclass(frozen=True)
class HistoryPage:
    """One page of records; `next_cursor` is None on the last. `total` counts all that match the filter."""

    records: tuple[ImageRecord, ...]
    next_cursor: str | None
    total: int


CARDS = (4, 6, 8, 12, 16, 24)  # GB of graphics memory


@dataclass(frozen=True)
class ModelInfo:
    """A catalogue entry as a page needs it. Sizes in pixels; `problem` says why it can't be used on this machine now."""

    id: str
    name: Mapping[str, str]  # language -> name
    description: Mapping[str, str]
    path: str | None
    default_width: int
    default_height: int
    default_steps: int
    default_guidance: float
    size_multiple: int
    max_side: int
    problem: StudioError | None = None
    pipeline: str = "ZImagePipeline"
    base: str | None = None  # of a single file: the folder that its other parts come from
    place: str = ""  # where it was found: shipped, store, huggingface, modelscope, path; "" = nowhere
    sources: Mapping[str, str] = field(default_factory=dict)  # hub -> repository
    revisions: Mapping[str, str] = field(default_factory=dict)  # hub -> pinned revision
    licence: str = ""
    disk_bytes: int = 0  # on this machine
    download_bytes: int | None = None  # about, where a hub has it
    memory_bytes: int | None = None  # of all weights in 16 bits
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # option key -> what this model allows
    cannot: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # option key -> why it does nothing here
    own: bool = False  # added by the user
    trained_side: int = 1024  # the longest side that training showed; beyond it positions may be scaled

    @property
    def tier(self) -> str | None:
        """The smallest card, as `memory.profile` names it, that holds all weights and a fifth more; None: none of them."""
        if self.memory_bytes is None:
            return None
        return next((f"{size}gb" for size in CARDS if size * 1e9 >= 1.2 * self.memory_bytes), None)


@dataclass(frozen=True)
class Download:
    """A model on its way from a hub. `state`: listing, running, checking, paused, interrupted, failed, done."""

    model: str
    hub: str
    repository: str
    state: str
    done_bytes: int = 0
    total_bytes: int = 0
    speed: float | None = None  # bytes a second, lately
    file: str = ""  # in hand
    error: StudioError | None = None

    @property
    def active(self) -> bool:
        """True while a process works on it."""
        return self.state in ("listing", "running", "checking")

    @property
    def eta_seconds(self) -> float | None:
        """At the present speed."""
        return (self.total_bytes - self.done_bytes) / self.speed if self.speed else None


@dataclass(frozen=True)
class Capability:
    """Whether one value of an option can be used on this machine, and why (not)."""

    option: str
    value: str
    usable: bool
    reason: Mapping[str, str]  # language -> sentence


@dataclass(frozen=True)
class WorkerStatus:
    """What the worker process last said of itself. `state`: stopped, starting, idle, loading, busy."""

    state: str
    pid: int | None = None
    model: str | None = None
    device: str | None = None
    memory_bytes: int | None = None  # resident memory of the worker process
    load_seconds: float | None = None  # what loading the present model took
    decisions: tuple[Decision, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    updated_at: datetime | None = None
    unloaded_from: int | None = None  # resident memory before an idle model was given back; None while one is loaded
    trouble: StudioError | None = (
        None  # why no worker comes up, once several in a row have ended before they could begin
    )
    asked: Mapping[str, Any] = field(default_factory=dict)  # live and reload options, as they were last applied
    effective: Mapping[str, Any] = field(default_factory=dict)  # and what the loaded pipeline made of them
    capabilities: tuple[Capability, ...] = ()
    allocator: str = ""  # what the card's allocator was told when the worker began


@dataclass(frozen=True)
class SystemReport:
    """What the system page shows. Memory in bytes."""

    python: str
    platform: str
    versions: Mapping[str, str]
    cpu_count: int
    memory_total: int
    memory_available: int
    disk_free: int
    output_directory: str
    worker: WorkerStatus
    log_tail: tuple[str, ...] = ()
