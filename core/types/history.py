"""Define stored images: their records, queries and annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from core.types.generation import Decision, GenerationRequest


@dataclass(frozen=True)
class Annotations:
    """The annotations of an image. `rating` 0 (none) to 5; tags and collections sorted."""

    rating: int = 0
    favourite: bool = False
    note: str = ""
    tags: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnnotationChange:
    """A change of annotations; None and () leave values as they are."""

    rating: int | None = None
    favourite: bool | None = None
    note: str | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    add_collections: tuple[str, ...] = ()
    remove_collections: tuple[str, ...] = ()

    def undoing(self, before: Annotations) -> AnnotationChange:
        """Return the change that brings an image back to `before` in what this one changes, and in nothing else."""

        def names(
            had: tuple[str, ...], added: tuple[str, ...], removed: tuple[str, ...]
        ) -> tuple[tuple[str, ...], ...]:
            return tuple(sorted(set(removed) & set(had))), tuple(sorted(set(added) - set(had) - set(removed)))

        tags = names(before.tags, self.add_tags, self.remove_tags)
        collections = names(before.collections, self.add_collections, self.remove_collections)
        return AnnotationChange(
            rating=None if self.rating is None else before.rating,
            favourite=None if self.favourite is None else before.favourite,
            note=None if self.note is None else before.note,
            add_tags=tags[0],
            remove_tags=tags[1],
            add_collections=collections[0],
            remove_collections=collections[1],
        )


@dataclass(frozen=True)
class ImageRecord:
    """A row of the history: an image on disk and everything that made it."""

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
    marks: Annotations = Annotations()
    trashed_at: datetime | None = None  # aware, UTC; in the trash since then
    place: int | None = None  # which of its job's images this is, from 1; unknown of images of earlier versions
    unknown: frozenset[str] = frozenset()  # fields of `request` with a placeholder, as an imported image does not tell them

    def known(self, name: str) -> Any:
        """Return a field of the request; None where it is unknown."""
        return None if name in self.unknown else getattr(self.request, name)

    @property
    def seconds(self) -> float | None:
        """Return the generation time in seconds; None if unknown."""
        return sum(self.timings.values()) if self.timings else None


@dataclass(frozen=True)
class NamedLora:
    """A LoRA as a file names it, without folder and extension; its weight is None where the file does not say it."""

    name: str
    weight: float | None = None
    parts: tuple[tuple[str, float], ...] = ()  # weights of parts of the model that differ, as LoraSpec has them


@dataclass(frozen=True)
class ImageParameters:
    """How an image was made, according to its file. None is unknown; no value is invented, rounded or truncated."""

    prompt: str | None = None
    negative_prompt: str | None = None  # "" = none was used
    seed: int | None = None  # 0 to 2^64 - 1
    steps: int | None = None
    cfg_scale: float | None = None  # 1 = off
    sampler: str | None = None
    width: int | None = None  # of the first pass
    height: int | None = None
    model: str | None = None  # a name, without folder and extension
    loras: tuple[NamedLora, ...] = ()


@dataclass(frozen=True)
class FoundParameters:
    """The parameters found in an image file. `program` is "" if there are none."""

    program: str
    values: Mapping[str, Any]  # by schema key, checked: these can be used
    unused: Mapping[str, str]  # by the other program's names: what has no equivalent here
    facts: ImageParameters = ImageParameters()


@dataclass(frozen=True)
class Difference:
    """How two images differ, in steps of 8 bits; `changed` is a share of the pixels, `psnr` in dB (infinite: identical)."""

    same_size: bool
    largest: int = 0
    mean: float = 0.0
    changed: float = 0.0
    psnr: float = 0.0

    @property
    def identical(self) -> bool:
        """Return True if every pixel is the same."""
        return self.same_size and self.largest == 0


@dataclass(frozen=True)
class Change:
    """A changed condition of an image, such as the version of a library."""

    name: str
    before: Any
    now: Any


@dataclass(frozen=True)
class RerunResult:
    """The comparison of an image with its rerun; `reasons` are the known changes."""

    difference: Difference
    reasons: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Axis:
    """One axis of a sweep, an option by schema key or another of `core.studio.sweep_axes`, and the values it takes."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class ParameterSweep:
    """A sweep: the source image ("" for none), one to three axes, and a job for each cell, row by row."""

    id: str
    created_at: datetime  # aware, UTC
    image_id: str
    axes: tuple[Axis, ...]
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class HistoryQuery:
    """A filter over the history. None or "" means: any. Dates are aware; sizes in pixels.

    `text` finds images with every one of its words in a prompt; Chinese needs no spaces. A page begins behind `cursor`,
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
    min_cfg_scale: float | None = None
    max_cfg_scale: float | None = None
    min_rating: int | None = None
    favourite: bool | None = None
    missing: bool | None = None
    tag: str | None = None
    collection: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # advanced options by schema key, at exactly this value
    ids: tuple[str, ...] = ()  # of these only
    without: tuple[str, ...] = ()  # and none of these
    parent: str | None = None  # made from this image
    imported: bool = False  # True: images that other programs made, and no others
    unknown: tuple[str, ...] = ()  # the file does not tell these: model, seed, num_inference_steps, cfg_scale, seconds
    trashed: bool = False  # True: the trash, and nothing else
    sort: str = "created_at"  # or seed, width, height, num_inference_steps, cfg_scale, seconds, rating, model ...
    descending: bool = True
    limit: int = 60
    cursor: str | None = None  # opaque: HistoryPage.next_cursor of the page before
    offset: int = 0


Undo = tuple[tuple[AnnotationChange, tuple[str, ...]], ...]  # changes that undo one, each with the ids of its images
ImageSelection = Sequence[str] | HistoryQuery  # what is acted on: images by id, or all that a question finds


@dataclass(frozen=True)
class HistoryPage:
    """One page of records; `next_cursor` is None on the last. `total` counts all that match the filter."""

    records: tuple[ImageRecord, ...]
    next_cursor: str | None
    total: int


@dataclass(frozen=True)
class HistoryCounts:
    """How many images there are; those in the trash count there and nowhere else."""

    all: int
    favourites: int
    missing: int
    imported: int
    trash: int
    tags: Mapping[str, int]
    collections: Mapping[str, int]


@dataclass(frozen=True)
class DayCount:
    """Images of one day; `seconds` is the mean time of those whose time is known, None where no time is."""

    day: date
    images: int
    seconds: float | None


@dataclass(frozen=True)
class HistoryStatistics:
    """Images that a query finds, by day (oldest first), model, sampler and size (most images first).

    "" is an unknown model or an image without a sampler of its own.
    """

    total: int
    days: tuple[DayCount, ...]
    models: Mapping[str, int]
    samplers: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
