"""Compute the metrics of a benchmark's columns from the records of their images and from the files.

Figures of time are medians, so that one slow image (the first, mostly) does not decide. What was not measured is None.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.demo.numpy_classifier import Obedience, obedience
from core.errors import NotFoundError, StudioError
from core.studio import Studio
from core.types import Benchmark, BenchmarkColumn, HistoryQuery, ImageRecord, Job, JobState

LOAD = "model.load_seconds"  # in a record's effective values: of the load that served the image


@dataclass(frozen=True)
class Metrics:
    """Metrics of a column. Times in seconds, sizes in bytes; `obeyed` is (right, asked) attributes of the prompts."""

    made: int
    wanted: int
    load_seconds: float | None = None
    seconds: float | None = None  # of an image: text, steps and decode
    steps_per_second: float | None = None
    peak_memory_bytes: int | None = None
    disk_bytes: int | None = None
    obeyed: tuple[int, int] | None = None
    sharpness: float | None = None  # of 255, see Look
    clipped: float | None = None  # a share
    cast: float | None = None  # of 255: how far the mean colour is from grey
    faults: tuple[str, ...] = ()  # black, flat, grey, cast: of each image that has one


@dataclass(frozen=True)
class ColumnResult:
    """A column with its metrics, its images by index (None: missing), and the state of its job."""

    column: BenchmarkColumn
    figures: Metrics
    images: tuple[ImageRecord | None, ...]
    job: Job | None

    @property
    def active(self) -> bool:
        """Return True while more images may come."""
        return self.job is not None and self.job.state.active

    @property
    def error(self) -> StudioError | None:
        """Return why images are missing permanently, or None."""
        return self.job.error if self.job is not None and self.job.state is JobState.FAILED else None


@dataclass(frozen=True)
class BenchmarkReport:
    """The present state of a benchmark."""

    benchmark: Benchmark
    columns: tuple[ColumnResult, ...]

    @property
    def active(self) -> bool:
        """Return True while any column may change."""
        return any(measured.active for measured in self.columns)

    @property
    def made(self) -> int:
        """Return the number of finished images."""
        return sum(measured.figures.made for measured in self.columns)

    @property
    def wanted(self) -> int:
        """Return the number of images in all."""
        return len(self.columns) * len(self.benchmark.cells)

    @property
    def fraction(self) -> float:
        """Return the progress, 0 to 1, counting finished images and the steps of running ones."""
        return sum(map(_share, self.columns)) / max(1, len(self.columns))

    @property
    def complete(self) -> bool:
        """Return True if every image is finished."""
        return self.made == self.wanted


def report(studio: Studio, benchmark: Benchmark) -> BenchmarkReport:
    """Look at every image that is there. The first look at an image takes some tens of milliseconds."""
    return BenchmarkReport(benchmark, tuple(_measured(studio, benchmark, column) for column in benchmark.columns))


def jobs(studio: Studio, benchmark: Benchmark) -> list[Job]:
    """Return the existing jobs of the columns, in column order."""
    return [job for column in benchmark.columns if (job := _job(studio, column)) is not None]


def cancel(studio: Studio, benchmark: Benchmark) -> None:
    """Stop what is not done; the waiting ones first, so that none of them begins meanwhile. Images that are made stay."""
    active = [job for job in jobs(studio, benchmark) if job.state.active]
    for job in sorted(active, key=lambda job: job.state is not JobState.QUEUED):
        studio.queue.cancel(job.id)


def retry(studio: Studio, benchmark: Benchmark) -> None:
    """Queue again what failed or was cancelled, for the images that it lacks."""
    for job in jobs(studio, benchmark):
        if job.state in (JobState.FAILED, JobState.CANCELLED):
            studio.queue.retry(job.id)


def _measured(studio: Studio, benchmark: Benchmark, column: BenchmarkColumn) -> ColumnResult:
    job, count = _job(studio, column), len(benchmark.cells)
    images = _by_place(studio, job, count)
    return ColumnResult(column, _figures(studio, column, images), images, job)


def _job(studio: Studio, column: BenchmarkColumn) -> Job | None:
    try:
        return studio.queue.get(column.job)
    except NotFoundError:
        return None


def _by_place(studio: Studio, job: Job | None, count: int) -> tuple[ImageRecord | None, ...]:
    found: list[ImageRecord | None] = [None] * count
    for record in _records(studio, job.image_ids if job else ()):
        if record.place is not None and 1 <= record.place <= count:
            found[record.place - 1] = record
    return tuple(found)


def _records(studio: Studio, ids: Sequence[str]) -> Iterator[ImageRecord]:
    """Yield those that are still there, in one question; what is in the trash is, too."""
    asked = HistoryQuery(ids=tuple(ids), limit=max(1, len(ids)))
    found = {record.id: record for record in studio.history.search(asked).records} if ids else {}
    yield from found.values()
    for image_id in ids:
        if image_id not in found and (record := _try(studio.history.get, image_id)) is not None:
            yield record


def _figures(studio: Studio, column: BenchmarkColumn, images: Sequence[ImageRecord | None]) -> Metrics:
    there = [record for record in images if record is not None]
    looks = [look for record in there if (look := _try(studio.images.stats, record.id)) is not None]
    answers = (
        [_try(lambda image_id: _obedience(studio, image_id), record.id) for record in there] if column.embedded else []
    )
    asked = [answer for answer in answers if answer is not None]
    return Metrics(
        made=len(there),
        wanted=len(images),
        load_seconds=_median({_number(record.effective, LOAD) for record in there}),
        seconds=_median(sum(record.timings.values()) for record in there),
        steps_per_second=_median(_pace(record) for record in there),
        peak_memory_bytes=max((record.peak_memory_bytes or 0 for record in there), default=0) or None,
        disk_bytes=column.disk_bytes or None,
        obeyed=(sum(one.right for one in asked), sum(one.asked for one in asked)) if asked else None,
        sharpness=_median(look.sharpness for look in looks),
        clipped=_median(look.clipped for look in looks),
        cast=_median(look.shift for look in looks),
        faults=tuple(look.fault for look in looks if look.fault),
    )


def _obedience(studio: Studio, image_id: str) -> Obedience | None:
    """Return how much of its prompt an image of the embedded model shows; None when the prompt names nothing it knows."""
    return obedience(studio.history.file(image_id), studio.history.get(image_id).request.prompt)


def _try(ask: Callable[[str], Any], image_id: str) -> Any:
    """Return what the file says; None when it is gone."""
    try:
        return ask(image_id)
    except (NotFoundError, OSError):
        return None


def _pace(record: ImageRecord) -> float | None:
    seconds = record.timings.get("steps", 0.0)
    return record.request.num_inference_steps / seconds if seconds > 0 else None


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _share(measured: ColumnResult) -> float:
    done = measured.figures.made / max(1, measured.figures.wanted)
    if not measured.active:
        return 1.0
    progress = measured.job.progress if measured.job else None
    return max(done, progress.fraction if progress else 0.0)
