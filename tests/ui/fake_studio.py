"""A studio whose queue draws Pillow images: the real `Studio` and its checks over parts that live in memory.

Jobs move only when they are told to (`finish`, `fail`, `advance`), or by themselves when `seconds_per_step` is given.
"""

from __future__ import annotations

import io
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

from core.config.loader import Settings, load_settings
from core.config.lora_syntax import LoraSpec
from core.errors import (
    InputError,
    LoraFileError,
    NotFoundError,
    QueueFullError,
    StudioError,
    UnknownLoraError,
    UnknownModelError,
)
from core.history.annotation_files import changed
from core.models.embedding_library import EmbeddingLibrary
from core.storage.input_images import InputImages
from core.studio import Studio
from core.studio.request_builder import RequestBuilder
from core.types import (
    IMAGE,
    MASK,
    AnnotationChange,
    Axis,
    Benchmark,
    DayCount,
    Decision,
    Download,
    GenerationRequest,
    HistoryCounts,
    HistoryPage,
    HistoryQuery,
    HistoryStatistics,
    ImageRecord,
    ImageSelection,
    Job,
    JobState,
    LoraInfo,
    ModelInfo,
    ParameterSweep,
    Phase,
    Progress,
    QueueSnapshot,
    SubmitOptions,
    SystemReport,
    Undo,
    Vote,
    WorkerStatus,
)

DECISIONS = (
    Decision(
        "model.dtype",
        "auto",
        "float32",
        {"en": "This processor has no fast bfloat16.", "zh": "此处理器没有快速的 bfloat16。"},
    ),
    Decision(
        "model.device", "auto", "cpu", {"en": "There is no CUDA and no Apple GPU.", "zh": "没有 CUDA，也没有苹果 GPU。"}
    ),
)
DEMO = ModelInfo(
    id="demo",
    name={"en": "Embedded model", "zh": "内置模型"},
    description={"en": "A small world in poster colours.", "zh": "海报色彩的小世界。"},
    path=None,
    default_width=256,
    default_height=256,
    default_steps=8,
    default_cfg_scale=1.0,
    size_multiple=16,
    max_side=1024,
    pipeline="ZImagePipeline",
    lora_kind="transformer",
    width=240,
    inputs=(IMAGE, MASK),
)
TURBO = replace(
    DEMO,
    id="z-image-turbo",
    name={"en": "Z-Image-Turbo", "zh": "Z-Image-Turbo"},
    default_width=1024,
    default_height=1024,
    max_side=2048,
    width=3840,
    problem=UnknownModelError(value="z-image-turbo", known="demo"),
    sources={"huggingface": "Tongyi-MAI/Z-Image-Turbo", "modelscope": "Tongyi-MAI/Z-Image-Turbo"},
    download_bytes=32_900_000_000,
    memory_bytes=20_500_000_000,
    licence="Apache-2.0",
)


def paint(request: GenerationRequest, width: int, height: int, blur: float = 0.0) -> Image.Image:
    """A small landscape that depends on the seed."""
    dice = random.Random(request.seed)
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    top, low = [tuple(dice.randrange(40, 230) for _ in range(3)) for _ in range(2)]
    for y in range(height):
        share = y / height
        draw.line((0, y, width, y), fill=tuple(int(a + (b - a) * share) for a, b in zip(top, low, strict=True)))
    ground = tuple(dice.randrange(30, 140) for _ in range(3))
    draw.polygon(((0, height * 0.7), (width * 0.35, height * 0.35), (width * 0.7, height * 0.7)), fill=(90, 90, 120))
    draw.rectangle((0, height * 0.7, width, height), fill=ground)
    left = width * dice.choice((0.2, 0.45, 0.65))
    draw.rectangle((left, height * 0.55, left + width * 0.2, height * 0.8), fill=(200, 60, 50))
    return image.filter(ImageFilter.GaussianBlur(blur)) if blur else image


class FakeHistory:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[ImageRecord] = []

    def option_members(self, key: str) -> set[str]:
        members = (member for record in self.records for member in record.request.options.get(key, ()))
        return {str(member).partition(":")[0] for member in members}

    def add(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        created_at: datetime | None = None,
        place: int | None = None,
    ) -> ImageRecord:
        image_id = uuid.uuid4().hex
        width, height = request.width, request.height
        paint(request, width, height).save(self.folder / f"{image_id}.png")
        record = ImageRecord(
            id=image_id,
            job_id=job_id,
            created_at=created_at or datetime.now(UTC),
            file=f"{image_id}.png",
            format="png",
            width=width,
            height=height,
            bytes=(self.folder / f"{image_id}.png").stat().st_size,
            request=request,
            rendered_size=(-(-width // 16) * 16, -(-height // 16) * 16),
            timings={"text": 0.08, "steps": 1.9, "decode": 0.21},
            effective={"device": "cpu", "model.dtype": "float32", "model.device": "cpu", "torch": "2.13.0"},
            decisions=DECISIONS,
            peak_memory_bytes=612 * 10**6,
            place=place,
        )
        self.records.insert(0, record)
        return record

    def search(self, query: HistoryQuery) -> HistoryPage:
        def fits(record: ImageRecord) -> bool:
            request = record.request
            return (
                query.text.lower() in (request.prompt + request.negative_prompt).lower()
                and query.model in (None, request.model)
                and query.parent in (None, request.parent)
                and query.width in (None, record.width)
                and query.height in (None, record.height)
                and (query.since is None or record.created_at >= query.since)
                and (query.until is None or record.created_at <= query.until)
                and (record.trashed_at is not None) == query.trashed
                and record.marks.rating >= (query.min_rating or 0)
                and query.favourite in (None, record.marks.favourite)
                and query.tag in (None, *record.marks.tags)
                and query.collection in (None, *record.marks.collections)
                and (not query.imported or "taken_in_from" in record.effective)
                and query.unknown in ((), *([query.unknown] if record.unknown.issuperset(query.unknown) else []))
                and (not query.ids or record.id in query.ids)
                and record.id not in query.without
            )

        def order(record: ImageRecord) -> float:
            if query.sort == "created_at":
                return record.created_at.timestamp()
            if query.sort == "rating":
                return float(record.marks.rating)
            if query.sort == "seconds":
                return sum(record.timings.values())
            return float(getattr(record.request, query.sort))

        found = sorted(filter(fits, self.records), key=order, reverse=query.descending)
        start = int(query.cursor or query.offset)
        rest = start + query.limit
        return HistoryPage(tuple(found[start:rest]), str(rest) if rest < len(found) else None, len(found))

    def get(self, image_id: str) -> ImageRecord:
        for record in self.records:
            if record.id == image_id:
                return record
        raise NotFoundError(kind="image", value=image_id)

    def file(self, image_id: str) -> Path:
        return self.folder / self.get(image_id).file

    def thumbnail(self, image_id: str) -> Path:
        path = self.folder / f"{image_id}.webp"
        if not path.exists():
            with Image.open(self.file(image_id)) as image:
                image.thumbnail((256, 256))
                image.save(path)
        return path

    def delete(self, image_id: str) -> None:
        self.records.remove(self.get(image_id))

    def ids(self, query: HistoryQuery) -> tuple[str, ...]:
        return tuple(record.id for record in self.search(replace(query, limit=10**6)).records)

    def neighbours(self, query: HistoryQuery, image_id: str) -> tuple[str | None, str | None]:
        ids = (None, *self.ids(query), None)
        place = ids.index(image_id)
        return ids[place - 1], ids[place + 1]

    def import_image(self, data: bytes, name: str, made: datetime | None = None) -> tuple[ImageRecord, bool]:
        with Image.open(io.BytesIO(data)) as image:
            request = GenerationRequest(prompt=name, width=image.width, height=image.height)
        known = [record for record in self.records if record.request == request]
        return (known[0], False) if known else (self.add(request, created_at=made), True)

    def labels(self, kind: str) -> tuple[str, ...]:
        marks = [record.marks for record in self.records]
        return tuple(sorted({name for one in marks for name in (one.tags if kind == "tag" else one.collections)}))

    def counts(self) -> HistoryCounts:
        kept = [record for record in self.records if record.trashed_at is None]
        return HistoryCounts(
            all=len(kept),
            favourites=sum(record.marks.favourite for record in kept),
            missing=sum(record.missing for record in kept),
            imported=sum("taken_in_from" in record.effective for record in kept),
            trash=len(self.records) - len(kept),
            tags=Counter(name for record in kept for name in record.marks.tags),
            collections=Counter(name for record in kept for name in record.marks.collections),
        )

    def statistics(self, query: HistoryQuery, zone: tzinfo) -> HistoryStatistics:
        found = self.search(replace(query, limit=10**6, cursor=None)).records
        days = Counter(record.created_at.astimezone(zone).date() for record in found)
        return HistoryStatistics(
            total=len(found),
            days=tuple(DayCount(day, count, 2.0) for day, count in sorted(days.items())),
            models=Counter(record.request.model for record in found),
            samplers=Counter(str(record.request.options.get("generation.sampler", "")) for record in found),
            sizes=Counter((record.width, record.height) for record in found),
        )

    def change(self, chosen: ImageSelection, change: AnnotationChange) -> Undo:
        ids = self._ids(chosen)
        undo = tuple((change.undoing(self.get(image_id).marks), (image_id,)) for image_id in ids)
        self._replace(ids, lambda record: replace(record, marks=changed(record.marks, change)))
        return undo

    def trash(self, chosen: ImageSelection) -> tuple[str, ...]:
        ids = self._ids(chosen)
        self._replace(ids, lambda record: replace(record, trashed_at=datetime.now(UTC)))
        return ids

    def restore(self, chosen: ImageSelection) -> tuple[str, ...]:
        ids = self._ids(chosen)
        self._replace(ids, lambda record: replace(record, trashed_at=None))
        return ids

    def empty_trash(self) -> int:
        before = len(self.records)
        self.records = [record for record in self.records if record.trashed_at is None]
        return before - len(self.records)

    def _ids(self, chosen: ImageSelection) -> tuple[str, ...]:
        return self.ids(chosen) if isinstance(chosen, HistoryQuery) else tuple(chosen)

    def _replace(self, ids: Sequence[str], new: Callable[[ImageRecord], ImageRecord]) -> None:
        self.records = [new(record) if record.id in ids else record for record in self.records]


class FakeQueue:
    def __init__(self, history: FakeHistory, seconds_per_step: float | None = None) -> None:
        self.history = history
        self.seconds_per_step = seconds_per_step
        self.jobs: dict[str, Job] = {}
        self.prepare: Callable[[GenerationRequest], GenerationRequest] = lambda request: request
        self.submitted: list[GenerationRequest] = []
        self.paused = False
        self._begun: dict[str, float] = {}

    def submit(self, request: GenerationRequest, terms: SubmitOptions | None = None, most: int | None = None) -> Job:
        return self.put(self.prepare(request), terms, most)

    def totals(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        states = [str(job.state) for job in self.jobs.values()]
        return {state: states.count(state) for state in states}

    def put(self, request: GenerationRequest, terms: SubmitOptions | None = None, most: int | None = None) -> Job:
        """Queue a request without checking it."""
        terms = terms or SubmitOptions()
        if most is not None and sum(job.client == terms.client for job in self.active(1000)) >= most:
            raise QueueFullError(allowed=most)
        job = Job(
            id=uuid.uuid4().hex[:12],
            state=JobState.QUEUED,
            request=request,
            created_at=datetime.now(UTC),
            position=1,
            client=terms.client,
            priority=terms.priority,
            not_before=terms.not_before,
            held=terms.held,
        )
        self.jobs[job.id] = job
        self.submitted.append(request)
        self._begun[job.id] = time.monotonic()
        return job

    def submit_all(
        self,
        requests: Sequence[GenerationRequest],
        terms: SubmitOptions | None,
        keep: Callable[[Any, Sequence[str]], None],
        most: int | None = None,
    ) -> Sequence[Job]:
        jobs = [self.put(request, terms) for request in map(self.prepare, requests)]
        keep(None, [job.id for job in jobs])
        return jobs

    def get(self, job_id: str) -> Job:
        if job_id not in self.jobs:
            raise NotFoundError(kind="job", value=job_id)
        self._move_by_itself(self.jobs[job_id])
        return self.jobs[job_id]

    def recent(self, limit: int = 50) -> Sequence[Job]:
        return [self.get(job_id) for job_id in reversed(self.jobs)][:limit]

    def active(
        self, limit: int = 200, client: str | None = None, after: str | None = None, other_than: str | None = None
    ) -> Sequence[Job]:
        found = [job for job in map(self.get, list(self.jobs)) if job.state.active and client in (None, job.client)]
        found = [job for job in found if job.client != other_than]
        order = list(self.jobs)
        behind = order[order.index(after) + 1 :] if after else order
        return [job for job in found if job.id in behind][:limit]

    def count_active(self, client: str | None = None) -> int:
        return len(self.active(10_000, client))

    def ended(self, limit: int) -> Sequence[Job]:
        return [job for job in self.recent(1000) if not job.state.active][:limit]

    def snapshot(self) -> QueueSnapshot:
        return QueueSnapshot(tuple(self.active(200)), self.paused, len(self.jobs), self.count_active())

    def clear(self, client: str | None = None) -> int:
        waiting = [job.id for job in self.active(1000) if job.state is JobState.QUEUED and client in (None, job.client)]
        return len([self.cancel(job_id) for job_id in waiting])

    def pause_job(self, job_id: str, paused: bool) -> Job:
        self.jobs[job_id] = replace(self.get(job_id), held=paused)
        return self.jobs[job_id]

    def postpone(self, job_id: str, not_before: datetime | None) -> Job:
        position = 1 if not_before is None or not_before <= datetime.now(UTC) else None
        self.jobs[job_id] = replace(self.get(job_id), not_before=not_before, position=position)
        return self.jobs[job_id]

    def retry(self, job_id: str) -> Job:
        self.jobs[job_id] = replace(self.get(job_id), state=JobState.QUEUED, error=None, cancel_requested=False)
        return self.jobs[job_id]

    def move(self, job_id: str, position: int) -> Job:
        job = self.jobs.pop(job_id)
        order = list(self.jobs.items())
        order.insert(position - 1, (job_id, job))
        self.jobs = dict(order)
        return job

    def prioritise(self, job_id: str, priority: int) -> Job:
        self.jobs[job_id] = replace(self.get(job_id), priority=priority)
        return self.jobs[job_id]

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def is_paused(self) -> bool:
        return self.paused

    def cancel(self, job_id: str) -> Job:
        if self.get(job_id).state.active:
            self.jobs[job_id] = replace(
                self.jobs[job_id], state=JobState.CANCELLED, cancel_requested=True, position=None
            )
        return self.jobs[job_id]

    def preview(self, job_id: str) -> bytes | None:
        job = self.get(job_id)
        if job.progress is None or job.progress.phase is not Phase.STEPS:
            return None
        image = paint(job.request, 128, 128, blur=max(0.0, 12.0 * (1 - job.progress.fraction)))
        stream = io.BytesIO()
        image.save(stream, "WEBP")
        return stream.getvalue()

    def advance(self, job_id: str, step: int, phase: Phase = Phase.STEPS, detail: str = "") -> None:
        request = self.jobs[job_id].request
        state = JobState.LOADING if phase is Phase.LOADING else JobState.RUNNING
        left = (request.num_inference_steps - step) * 0.4
        progress = Progress(
            phase, step, request.num_inference_steps, 1, request.num_images, left, detail, preview_step=step
        )
        self.jobs[job_id] = replace(self.jobs[job_id], state=state, progress=progress, position=None)

    def finish(self, job_id: str) -> None:
        job = self.jobs[job_id]
        per_image_requests = enumerate(job.request.per_image_requests(), start=1)
        ids = tuple(self.history.add(single, job_id, place=place).id for place, single in per_image_requests)
        now = datetime.now(UTC)
        self.jobs[job_id] = replace(
            job,
            state=JobState.DONE,
            image_ids=ids,
            position=None,
            started_at=now - timedelta(seconds=3),
            finished_at=now,
        )

    def fail(self, job_id: str, error: StudioError) -> None:
        self.jobs[job_id] = replace(self.jobs[job_id], state=JobState.FAILED, error=error, position=None)

    def _move_by_itself(self, job: Job) -> None:
        if self.seconds_per_step is None or not job.state.active:
            return
        gone = (time.monotonic() - self._begun[job.id]) / self.seconds_per_step
        if gone < 2:
            self.advance(job.id, 0, Phase.LOADING, "0.1 / 0.4 GB")
        elif gone < 2 + job.request.num_inference_steps:
            self.advance(job.id, int(gone) - 1)
        else:
            self.finish(job.id)


class FakeCatalog:
    def __init__(self) -> None:
        self.added: list[str] = []

    def problems(self) -> Sequence[InputError]:
        return ()

    def add(self, path: str, model: str | None = None) -> ModelInfo:
        if path.startswith("/no"):
            raise UnknownModelError(value=path, known="demo")
        self.added.append(path)
        return replace(DEMO, id="mine", own=True)

    def forget(self, model: str) -> bool:
        return False

    def models(self) -> Sequence[ModelInfo]:
        return (DEMO, TURBO)

    def find(self, model: str) -> ModelInfo:
        for info in self.models():
            if info.id == model:
                return info
        raise UnknownModelError(value=model, known="demo, z-image-turbo")

    def conditions(self, model: str) -> Mapping[str, Any]:
        self.find(model)
        return {"versions.torch": "2.13.0", "versions.diffusers": "0.42.1", "model.fingerprint": "0123456789"}


class FakeDownloads:
    """One at a time is enough for a page."""

    def __init__(self, folder: Path) -> None:
        self.store = folder
        self.known: dict[str, Download] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.tokens: dict[str, str] = {}

    def all(self) -> Sequence[Download]:
        return list(self.known.values())

    def start(self, info: ModelInfo, hub: str | None = None, endpoint: str | None = None) -> Download:
        self.asked.append((info.id, hub, endpoint))
        chosen = hub or next(iter(info.sources))
        self.known[info.id] = Download(info.id, chosen, info.sources[chosen], "running", 3 << 30, 12 << 30, 50e6, "a.b")
        return self.known[info.id]

    def resume(self, model: str) -> Download | None:
        self.known[model] = replace(self.known[model], state="running", speed=50e6)
        return self.known[model]

    def resume_interrupted(self) -> None:
        pass

    def pause(self, model: str) -> None:
        self.known[model] = replace(self.known[model], state="paused", speed=None)

    def cancel(self, model: str) -> None:
        del self.known[model]

    def stop(self) -> None:
        pass

    def remove_files(self, info: ModelInfo) -> bool:
        return False

    def save_token(self, hub: str, token: str) -> None:
        self.tokens[hub] = token

    def has_token(self, hub: str) -> bool:
        return hub in self.tokens


class FakeWorker:
    def __init__(self) -> None:
        self.running = False
        self.wishes: list[str | None] = []

    def load(self, model: str, options: Mapping[str, object]) -> None:
        self.wishes.append(model)

    def unload(self) -> None:
        self.wishes.append(None)

    def refusal(self) -> StudioError | None:
        return None

    def add_worker(self, node: str) -> None:
        self.wishes.append(f"add {node}")

    def drain_worker(self, worker: str) -> None:
        self.wishes.append(f"drain {worker}")

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def status(self) -> WorkerStatus:
        return WorkerStatus(
            state="idle",
            pid=4711,
            model="demo",
            device="cpu",
            memory_bytes=700 * 10**6,
            load_seconds=2.4,
            decisions=DECISIONS,
            versions={"torch": "2.13.0", "diffusers": "0.42.1"},
            updated_at=datetime.now(UTC),
        )


class FakeSheets:
    def __init__(self, folder: Path, queue: FakeQueue) -> None:
        self.folder = folder
        self.queue = queue
        self.sheets: dict[str, ParameterSweep] = {}

    def put(self, connection: Any, image_id: str, axes: Sequence[Axis], jobs: Sequence[str]) -> str:
        sheet = ParameterSweep(uuid.uuid4().hex, datetime.now(UTC), image_id, tuple(axes), tuple(jobs))
        self.sheets[sheet.id] = sheet
        return sheet.id

    def get(self, sheet_id: str) -> ParameterSweep:
        if sheet_id not in self.sheets:
            raise NotFoundError(kind="X/Y plot", value=sheet_id)
        return self.sheets[sheet_id]

    def file(self, sheet_id: str) -> Path:
        jobs = [self.queue.get(job_id) for job_id in self.get(sheet_id).jobs]
        if any(job.state.active for job in jobs):
            raise NotFoundError(kind="contact sheet", value=sheet_id)
        path = self.folder / f"{sheet_id}.sheet"
        path.write_text(f"{len(jobs)} pictures")
        return path


class FakeComparisons:
    def __init__(self) -> None:
        self.known: dict[str, Benchmark] = {}
        self.given: dict[tuple[Any, ...], Vote] = {}

    def put(self, connection: Any, comparison: Benchmark) -> None:
        self.known[comparison.id] = comparison

    def get(self, comparison_id: str) -> Benchmark:
        if comparison_id not in self.known:
            raise NotFoundError(kind="benchmark", value=comparison_id)
        return self.known[comparison_id]

    def recent(self, limit: int = 50) -> Sequence[Benchmark]:
        return list(reversed(self.known.values()))[:limit]

    def forget(self, comparison_id: str) -> None:
        del self.known[self.get(comparison_id).id]

    def vote(self, comparison_id: str, vote: Vote) -> None:
        self.given[self.get(comparison_id).id, vote.voter, vote.place, vote.one, vote.other] = vote

    def votes(self, comparison_id: str) -> Sequence[Vote]:
        return [vote for key, vote in self.given.items() if key[0] == comparison_id]


def system_report(worker: WorkerStatus) -> SystemReport:
    return SystemReport(
        python="3.11.0",
        platform="Linux",
        versions={"streamlit": "1.67.0", "torch": "2.13.0"},
        cpu_count=2,
        memory_total=16 * 10**9,
        memory_available=9 * 10**9,
        disk_free=120 * 10**9,
        output_directory="outputs",
        worker=worker,
        log_tail=("10:00:00 worker: model demo loaded in 2.4 s", "10:00:09 worker: job done"),
    )


LORAS = (
    LoraInfo(
        "ink-print",
        None,
        350_000,
        kind="transformer",
        width=240,
        rank=4,
        digest="ab" * 32,
        preview=True,
        triggers=("ink print",),
    ),
    LoraInfo("xl-glow", None, 120_000_000, kind="unet", width=2048, rank=16, own=True),
    LoraInfo(
        "broken",
        None,
        9,
        own=True,
        problem=LoraFileError(name="broken", problem={"en": "the file is shorter", "zh": "文件不完整"}),
    ),
)


class FakeLoras:
    def __init__(self) -> None:
        self.known = list(LORAS)

    def all(self) -> Sequence[LoraInfo]:
        return self.known

    def check(self, uses: Sequence[LoraSpec], model: ModelInfo) -> None:
        for use in uses:
            if use.name not in [lora.name for lora in self.known]:
                raise UnknownLoraError(value=use.name, nearest=self.known[0].name)

    def named(self, name: str, digest: str) -> str:
        return name

    def preview(self, name: str) -> Path | None:
        return None

    def remove(self, name: str) -> None:
        self.known = [lora for lora in self.known if lora.name != name]


class FakeStudio(Studio):
    """The real studio over the parts above."""

    def __init__(self, folder: Path, settings: Settings | None = None, seconds_per_step: float | None = None) -> None:
        settings = settings or load_settings()
        history, catalog, loras, inputs = FakeHistory(folder), FakeCatalog(), FakeLoras(), InputImages(folder)
        queue = FakeQueue(history, seconds_per_step)
        embeddings = EmbeddingLibrary(folder / "embeddings")
        requests = RequestBuilder(settings, catalog, loras, inputs, embeddings)
        queue.prepare = requests.prepare
        super().__init__(
            settings=settings,
            requests=requests,
            queue=queue,
            history=history,
            catalog=catalog,
            worker=FakeWorker(),
            sweeps=FakeSheets(folder, queue),
            downloads=FakeDownloads(folder),
            input_images=inputs,
            benchmarks=FakeComparisons(),
            lora_files=loras,
            embeddings=embeddings,
        )
        self.system.report = lambda: system_report(self.worker.status())

    def fill_history(self, count: int = 8) -> list[ImageRecord]:
        """Images of the last days, newest first."""
        words = (
            "红色的房子，日落，雪山",
            "a blue lighthouse by the sea at night",
            "薰衣草田里的紫色风车，黎明",
            "a white tent in the snow",
        )
        now = datetime.now(UTC)
        for k in range(count, 0, -1):
            size = ((256, 256), (320, 192), (192, 320))[k % 3]
            request = replace(self.requests.new({"prompt": words[k % 4]}), seed=4700 + k, width=size[0], height=size[1])
            self.history.add(request, created_at=now - timedelta(hours=7 * k))
        return self.history.records
