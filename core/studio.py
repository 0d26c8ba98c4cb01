"""The front door: everything that the page, the command line and the service can ask for.

What this module does not know: Streamlit, torch, SQL, how a worker is started (see `bootstrap`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

from core import reproduction, requests
from core.batch.build import build
from core.batch.library import WildcardFiles
from core.batch.rows import read_rows
from core.config.layers import PROJECT_ROOT, Settings
from core.errors import (
    InputError,
    ModelFileError,
    NotFoundError,
    OptionError,
    PictureFileError,
    StudioError,
    UnknownModelError,
)
from core.faults import Evidence, Fault, find
from core.parts import Catalog, Downloads, History, Queue, Sheets, System, Worker
from core.storage import difference
from core.storage.importing import MAX_FILE
from core.storage.inspection import Look, look
from core.storage.readers import read_parameters
from core.types import (
    Axis,
    Change,
    Chosen,
    Difference,
    Download,
    FoundParameters,
    GenerationRequest,
    HistoryPage,
    HistoryQuery,
    ImageRecord,
    Job,
    JobTerms,
    MarkChange,
    ModelInfo,
    Sheet,
    SystemReport,
    TakenIn,
    Verdict,
    WorkerStatus,
)

FAULT_JOBS = 20  # the latest that are looked through for faults
MAX_CELLS = 100  # pictures of one sweep
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Studio:
    """The parts behind one set of verbs. Thread-safe as its parts are: many pages share one studio."""

    def __init__(
        self, settings: Settings, queue: Queue, history: History, catalog: Catalog, worker: Worker, system: System,
        sheets: Sheets, downloads: Downloads,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._queue = queue
        self._history = history
        self._catalog = catalog
        self._worker = worker
        self._system = system
        self._sheets = sheets
        self._downloads = downloads

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the worker process (and keep it alive) unless another studio over the same folder already has one."""
        self._worker.start()

    def resume_downloads(self) -> None:
        """Go on with the downloads that the end of the last app cut off."""
        self._downloads.resume_interrupted()

    def stop(self) -> None:
        """End the worker that this studio started."""
        self._downloads.stop()
        self._worker.stop()

    # -- jobs ------------------------------------------------------------------------------------------------------

    def new_request(self, values: Mapping[str, Any] | None = None, source: str = "form") -> GenerationRequest:
        """A complete, checked request: `values` (by schema key or alias) over the settings over the model's defaults.

        Raises InputError naming `source` for the first value that cannot be used.
        """
        given = requests.checked(values or {}, source)
        chosen = {**self.settings.values, **given}
        return requests.build(chosen, given, self._catalog.find(chosen["model.id"]))

    def new_batch(
        self, given: bytes | str | Sequence[Any], values: Mapping[str, Any] | None = None, source: str = "batch",
        most: int | None = None, check: Callable[[GenerationRequest], None] = lambda single: None,
    ) -> GenerationRequest:  # fmt: skip
        """A complete request of many pictures: one for each line of a text, row of a CSV file or entry of a list.

        `values` are as for `new_request` and hold for what a row leaves out; wildcards are expanded here, by the seeds
        of the pictures. `check` is asked about each picture, too. Raises BatchError naming every row that can't be used;
        `source` is the file's name, or what else to call it.
        """
        base = requests.with_seed(self.new_request(values))
        model = self._catalog.find(base.model)
        if model.problem is not None:
            raise model.problem

        def check_single(single: GenerationRequest) -> None:
            requests.check(single, model, source)
            check(single)

        limit = min(self.settings["batch.max_pictures"], most or self.settings["batch.max_pictures"])
        return build(base, read_rows(given, source), self._wildcards(), limit, check_single, source)

    def wildcards(self) -> tuple[str, ...]:
        """The names that may stand in a batch as __name__."""
        return self._wildcards().names()

    def _wildcards(self) -> WildcardFiles:
        shipped = self.settings.configs / "prompts" / "wildcards"
        return WildcardFiles(shipped, PROJECT_ROOT / str(self.settings["batch.wildcards"]))

    def submit(self, request: GenerationRequest, terms: JobTerms | None = None, most: int | None = None) -> Job:
        """Check the request, resolve seed -1 to a real one, and put it into the queue. It is durable when this returns.

        With `most`, QueueFullError when the client of `terms` has that many active jobs already.
        """
        model = self._catalog.find(request.model)
        for single in request.singles() if request.pictures else (request,):
            requests.check(single, model)
        return self._queue.add(requests.with_seed(request), terms, most)

    def cancel(self, job_id: str) -> Job:
        """Queued jobs are cancelled at once, running ones within one step."""
        return self._queue.request_cancel(job_id)

    def job(self, job_id: str) -> Job:
        """A snapshot; NotFoundError when there is none."""
        return self._queue.get(job_id)

    def jobs(self, limit: int = 50) -> Sequence[Job]:
        """The latest jobs, newest first."""
        return self._queue.recent(limit)

    def active_jobs(self, limit: int = 200) -> Sequence[Job]:
        """What is in work, then what waits, in the order of running."""
        return self._queue.active(limit)

    def clear_queue(self, client: str | None = None) -> int:
        """Cancel all that waits, of one client or of everyone; how many that were."""
        return self._queue.clear(client)

    def hold(self, job_id: str, held: bool) -> Job:
        """Pause a job (a running one within one step; its finished pictures are kept) or let it go on."""
        return self._queue.hold(job_id, held)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again, for the pictures that it lacks."""
        return self._queue.retry(job_id)

    def postpone(self, job_id: str, not_before: datetime | None) -> Job:
        """Let a queued job wait until then (aware), or no longer."""
        return self._queue.postpone(job_id, not_before)

    def move(self, job_id: str, position: int) -> Job:
        """Put a queued job at this position, from 1."""
        return self._queue.move(job_id, position)

    def prioritise(self, job_id: str, priority: int) -> Job:
        """Give a queued job another priority, -100 to 100."""
        return self._queue.prioritise(job_id, priority)

    def pause_queue(self, paused: bool) -> None:
        """Let nothing new begin until the pause ends; what runs is finished."""
        self._queue.pause(paused)

    def queue_paused(self) -> bool:
        """Whether the queue is paused."""
        return self._queue.is_paused()

    def preview(self, job_id: str) -> bytes | None:
        """The latest preview of a running job, a small WebP."""
        return self._queue.preview(job_id)

    # -- history ---------------------------------------------------------------------------------------------------

    def search(self, query: HistoryQuery) -> HistoryPage:
        """One page of the history."""
        return self._history.search(query)

    def image(self, image_id: str) -> ImageRecord:
        """One record; NotFoundError when there is none."""
        return self._history.get(image_id)

    def image_file(self, image_id: str) -> Path:
        """The picture's file; NotFoundError when the row or the file is gone."""
        return self._history.file(image_id)

    def thumbnail(self, image_id: str) -> Path:
        """A WebP of at most 256 px, made when first asked for."""
        return self._history.thumbnail(image_id)

    def read_parameters(self, data: bytes) -> FoundParameters | None:
        """What a picture file of any program says of how it was made; None when it is no picture."""
        return read_parameters(BytesIO(data))

    def take_in(self, data: bytes, name: str) -> tuple[ImageRecord, bool]:
        """Make a picture from elsewhere part of the history; whether it is new there. PictureFileError when it can't be."""
        return self._history.take_in(data, name)

    def take_in_folder(self, folder: Path) -> TakenIn:
        """Every picture in a folder of this machine, not in those below it. Links are not followed."""
        known, new, refused = 0, [], []
        try:
            paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
        except OSError as error:
            raise PictureFileError(file=folder, detail=error.strerror or error) from error
        for path in paths:
            if path.suffix.lower() not in PICTURES:
                continue
            try:
                if path.stat().st_size > MAX_FILE:  # before it is read
                    raise PictureFileError(file=path.name, detail=f"> {MAX_FILE >> 20} MB")
                made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                record, is_new = self._history.take_in(path.read_bytes(), path.name, made)
            except (PictureFileError, OSError) as error:
                refused.append(
                    error if isinstance(error, PictureFileError) else PictureFileError(file=path, detail=error)
                )
                continue
            known += not is_new
            new += [record.id] if is_new else []
        return TakenIn(tuple(new), known, tuple(refused))

    def image_ids(self, query: HistoryQuery) -> tuple[str, ...]:
        """The ids of all that match, in the query's order."""
        return self._history.ids(query)

    def neighbours(self, query: HistoryQuery, image_id: str) -> tuple[str | None, str | None]:
        """The pictures before and after this one in the query's order; None at an end."""
        return self._history.neighbours(query, image_id)

    def difference(self, one: str, other: str) -> Difference:
        """How two pictures differ, in figures."""
        return difference.compare(self.image_file(one), self.image_file(other))

    def difference_map(self, one: str, other: str) -> bytes:
        """Where two pictures differ, as a PNG."""
        return difference.heat_map(self.image_file(one), self.image_file(other))

    def tags(self) -> tuple[str, ...]:
        """Every tag that some picture has."""
        return self._history.labels("tag")

    def collections(self) -> tuple[str, ...]:
        """Every collection that some picture is in."""
        return self._history.labels("collection")

    def mark(self, chosen: Chosen, change: MarkChange) -> None:
        """Rate, tag, note or collect these pictures: by id, or all that a question finds."""
        self._history.change(chosen, change)

    def trash(self, chosen: Chosen) -> None:
        """Put these pictures into the trash."""
        self._history.trash(chosen)

    def restore(self, chosen: Chosen) -> None:
        """Take these pictures out of the trash."""
        self._history.restore(chosen)

    def empty_trash(self) -> int:
        """Delete what is in the trash for good: rows, files and all; how many pictures that was."""
        return self._history.empty_trash()

    # -- again -----------------------------------------------------------------------------------------------------

    def expected_changes(self, image_id: str) -> tuple[Change, ...]:
        """Why a second making would not be identical, as far as it can be known before it. UnknownModelError when there is none."""
        record = self.image(image_id)
        known = self._catalog.conditions(record.request.model)
        return reproduction.expected(record, known, self._worker.status())

    def verdict(self, image_id: str, again: str) -> Verdict:
        """A picture and its second making, pixel by pixel, with the reasons of a difference."""
        return reproduction.judged(self.image(image_id), self.image(again), self.difference(image_id, again))

    def sweep(self, image_id: str, axes: Sequence[Axis]) -> Sheet:
        """Draw a picture again for every value of one axis, or for every pair of values of two, each as a job.

        Raises InputError before anything is queued when a value can't be used or the cells are too many.
        """
        cells = list(product(*(axis.values for axis in reversed(axes))))
        if not 1 <= len(axes) <= 2 or not 1 <= len(cells) <= MAX_CELLS:
            allowed = {"en": f"1 - {MAX_CELLS}, on one axis or two", "zh": f"1 - {MAX_CELLS}，一个或两个轴"}
            raise OptionError(source="sweep", key="cells", came=len(cells), allowed=allowed)
        request = self.image(image_id).request
        singles: list[GenerationRequest] = []
        for cell in cells:
            values = {axis.key: value for axis, value in zip(reversed(axes), cell, strict=True)}
            singles.append(requests.with_values(request, values))
            requests.check(singles[-1], self._catalog.find(request.model), "sweep")
        return self._sheets.add(image_id, axes, [self.submit(single).id for single in singles])

    def sheet(self, sheet_id: str) -> Sheet:
        """A sweep; NotFoundError when there is none."""
        return self._sheets.get(sheet_id)

    def sheet_file(self, sheet_id: str) -> Path:
        """The contact sheet; NotFoundError until the last of its jobs has ended."""
        return self._sheets.file(sheet_id)

    # -- models and machine ----------------------------------------------------------------------------------------

    def models(self) -> Sequence[ModelInfo]:
        """The catalogue, with the reason where a model can't be used."""
        return self._catalog.models()

    def model(self, model_id: str) -> ModelInfo:
        """One entry, by id or by the path of a folder; UnknownModelError or ModelFileError."""
        return self._catalog.find(model_id)

    def model_problems(self) -> Sequence[InputError]:
        """What is wrong with files of the catalogue that are no entries."""
        return self._catalog.problems()

    def add_model(self, path: str, model_id: str | None = None) -> ModelInfo:
        """Put a folder or file of this machine into the catalogue; ModelFileError when it can't be used."""
        return self._catalog.add(path, model_id)

    def remove_model(self, model_id: str) -> None:
        """Take the user's own entry out of the catalogue, or delete the files that were fetched. ModelFileError for others."""
        info = self._catalog.find(model_id)
        if info.own and self._catalog.forget(model_id):
            return
        if not self._downloads.remove_files(info):
            raise ModelFileError(model=info.id, file=info.path or info.id, problem=_NOT_OURS)

    def load_model(self, model_id: str) -> None:
        """Have the worker load it, between two jobs and with the settings' options; the present one is freed first."""
        info = self._catalog.find(model_id)
        if info.problem is not None:
            raise info.problem
        self._worker.load(info.id, self.settings.request_options())

    def unload_model(self) -> None:
        """Have the worker give the model's memory back."""
        self._worker.unload()

    def load_error(self) -> StudioError | None:
        """Why the last model that was to be loaded could not be."""
        return self._worker.refusal()

    def downloads(self) -> Sequence[Download]:
        """The models on their way, and how far they are."""
        return self._downloads.all()

    def download(self, model_id: str, hub: str | None = None, endpoint: str | None = None) -> Download:
        """Fetch a model of the catalogue in a process of its own, from the hub named, else from the first that has it."""
        return self._downloads.start(self._catalog.find(model_id), hub, endpoint)

    def pause_download(self, model_id: str) -> None:
        """Stop it; what has arrived is kept."""
        self._downloads.pause(model_id)

    def resume_download(self, model_id: str) -> None:
        """Go on from where it was."""
        self._downloads.resume(model_id)

    def cancel_download(self, model_id: str) -> None:
        """Stop it, and throw away what has arrived."""
        self._downloads.cancel(model_id)

    def save_token(self, hub: str, token: str) -> None:
        """Keep a hub's token in a file that nobody else can read; an empty one is removed."""
        self._downloads.save_token(hub, token)

    def has_token(self, hub: str) -> bool:
        """Whether there is one, in the environment or that file."""
        return self._downloads.has_token(hub)

    def models_folder(self) -> Path:
        """Where downloads are kept."""
        return self._downloads.store

    def worker(self) -> WorkerStatus:
        """What the worker last said of itself; cheap."""
        return self._worker.status()

    def faults(self) -> tuple[Fault, ...]:
        """What went wrong lately or will, each with its cure."""
        jobs = self.jobs(FAULT_JOBS)
        return find(Evidence(jobs, tuple(self._looks(jobs)), self._model_or_none, self.settings["model.id"]))

    def _looks(self, jobs: Sequence[Job]) -> Iterator[tuple[ImageRecord, Look]]:
        """The pictures of these jobs that are still there; of each job the first, as its others were made alike."""
        for job in jobs:
            try:
                if job.image_ids:
                    yield self.image(job.image_ids[0]), look(self.image_file(job.image_ids[0]))
            except (NotFoundError, OSError):
                continue

    def look(self, image_id: str) -> Look:
        """A picture's file in figures; NotFoundError when it is gone."""
        return look(self.image_file(image_id))

    def _model_or_none(self, model: str) -> ModelInfo | None:
        try:
            return self._catalog.find(model)
        except UnknownModelError:
            return None

    def system(self) -> SystemReport:
        """The machine, the versions, the worker, the end of the log."""
        return self._system.report(self._worker.status())


_NOT_OURS = {
    "en": "these files were not fetched by the studio and are not deleted; only downloads and added entries can be removed",
    "zh": "这些文件不是本程序下载的，不会删除；只能移除下载的模型和添加的条目",
}
