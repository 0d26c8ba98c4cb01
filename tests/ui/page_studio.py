"""The real studio for tests of the pages: only the worker with its models, and the hubs, are stand-ins.

Queue, history, sweeps, benchmarks and input images are the real ones over SQLite, copied from a prepared database file.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter
from sqlalchemy import delete, select, update

from core.config.loader import Settings, load_settings
from core.config.lora_syntax import LoraSpec
from core.errors import InputError, LoraFileError, StudioError, UnknownLoraError, UnknownModelError
from core.history import image_rows
from core.history.benchmark_store import BenchmarkStore, StudyStore
from core.history.hidden_collections import HiddenCollections
from core.history.record_codec import generated_record, new_id
from core.history.store import History, PendingImage
from core.history.sweeps import SweepStore
from core.jobs.job_rows import add_job
from core.jobs.queue import JobQueue
from core.models.embedding_library import EmbeddingLibrary
from core.storage import tables
from core.storage.database import Database, timestamp
from core.storage.files import LocalFiles
from core.storage.image_writer import ImageWriter
from core.storage.input_images import InputImages
from core.studio import Studio
from core.studio.request_builder import RequestBuilder
from core.types import (
    IMAGE,
    MASK,
    Decision,
    Download,
    GeneratedImage,
    GenerationRequest,
    ImageRecord,
    Job,
    JobState,
    LoraInfo,
    ModelInfo,
    ParameterSweep,
    Phase,
    Progress,
    SubmitOptions,
    SystemReport,
    WorkerStatus,
)
from tests.databases import put_database

NOTHING = Image.new("RGB", (1, 1))
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
    """Return a small landscape that depends on the seed."""
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


def webp(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "WEBP")
    return stream.getvalue()


class Records(Sequence[ImageRecord]):
    """All stored images, those in the trash included, the latest first. Assigning one rewrites its rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _all(self) -> tuple[ImageRecord, ...]:
        with self._database.reading() as connection:
            found = connection.execute(select(tables.images).order_by(tables.images.c.number.desc())).all()
            return image_rows.typed(connection, found)

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    def __setitem__(self, index: int, record: ImageRecord) -> None:
        assert self[index].id == record.id
        image = GeneratedImage(
            NOTHING,
            replace(record.request, width=record.width, height=record.height),
            record.rendered_size,
            record.timings,
            record.effective,
            record.decisions,
            record.peak_memory_bytes,
        )
        data = generated_record(image, record.id, record.job_id, record.created_at)
        data["place"] = record.place
        for name in record.unknown:
            data["requested"][name] = None
        with self._database.writing() as connection:
            image_rows.put(connection, record, data)


class GeneratedHistory(History):
    """The real history, with images of the fake generator."""

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database, folder)
        self.folder = folder
        self.records = Records(database)

    def generated(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        created_at: datetime | None = None,
        place: int = 1,
    ) -> ImageRecord:
        """Generate an image of this request and add it, as if at `created_at`."""
        width, height = request.width, request.height
        image = GeneratedImage(
            paint(request, width, height),
            request,
            rendered_size=(-(-width // 16) * 16, -(-height // 16) * 16),
            timings={"text": 0.08, "steps": 1.9, "decode": 0.21},
            effective={"model.dtype": "float32", "model.device": "cpu", "torch": "2.13.0"},
            decisions=DECISIONS,
            peak_memory_bytes=612 * 10**6,
            place=place,
        )
        made = self.prepare(image, job_id)
        if created_at is not None:
            record = generated_record(image, new_id(created_at), job_id, created_at)
            stored, data = ImageWriter(LocalFiles(self.folder)).encode(image, record["id"], created_at, record)
            made = PendingImage(stored, data, record)
        return self.get(self.commit(made).id)


class DrivenQueue(JobQueue):
    """The real queue. The test is its worker: jobs move when it calls `advance`, `finish` or `fail`."""

    def __init__(
        self, database: Database, history: GeneratedHistory, prepare: Callable[[GenerationRequest], GenerationRequest]
    ) -> None:
        super().__init__(database, prepare=prepare)
        self.history = history

    @property
    def submitted(self) -> list[GenerationRequest]:
        """Return the requests of all jobs, the first one first."""
        return [job.request for job in reversed(self.recent(1000))]

    def put(self, request: GenerationRequest) -> Job:
        """Queue a request without checking it."""
        with self._database.writing() as connection:
            job_id = add_job(connection, request, SubmitOptions())
        return self.get(job_id)

    def change_row(self, job_id: str, **columns: Any) -> None:
        """Write columns of a job's row."""
        with self._database.writing() as connection:
            connection.execute(update(tables.jobs).where(tables.jobs.c.id == job_id).values(columns))

    def delete(self, job_id: str) -> None:
        """Remove a job's row."""
        with self._database.writing() as connection:
            connection.execute(delete(tables.jobs).where(tables.jobs.c.id == job_id))

    def advance(
        self, job_id: str, step: int, phase: Phase = Phase.STEPS, detail: str = "", preview: bool = True
    ) -> None:
        """Claim the job if it waits, and report a step of its first image, with its live preview."""
        job = self.get(job_id)
        if job.state is JobState.QUEUED:
            self.change_row(job_id, state=JobState.LOADING, worker="test", started_at=timestamp(datetime.now(UTC)))
        steps, blur = job.request.num_inference_steps, max(0.0, 12.0 * (1 - step / job.request.num_inference_steps))
        image = webp(paint(job.request, 128, 128, blur)) if preview and phase is Phase.STEPS else None
        shown = step if image else (job.progress.preview_step if job.progress else 0)
        left = (steps - step) * 0.4
        self.report(
            job_id,
            Progress(phase, step, steps, 1, job.request.num_images, left, detail, preview=image, preview_step=shown),
        )

    def finish(self, job_id: str, state: JobState = JobState.DONE, error: StudioError | None = None) -> None:
        """Generate the job's missing images and end it."""
        request = self.get(job_id).request
        self.advance(job_id, request.num_inference_steps)
        made = self.history.places_of(job_id) if state is JobState.DONE else frozenset(range(1, 1001))
        for place, single in enumerate(request.per_image_requests(), start=1):
            if place not in made:
                self.history.generated(single, job_id, place=place)
        super().finish(job_id, state, error)
        now = datetime.now(UTC)
        self.change_row(job_id, started_at=timestamp(now - timedelta(seconds=3)), finished_at=timestamp(now))

    def fail(self, job_id: str, error: StudioError) -> None:
        """End the job with an error."""
        self.finish(job_id, JobState.FAILED, error)


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

    def remembering(self) -> AbstractContextManager[None]:
        return nullcontext()

    def ids(self) -> Sequence[str]:
        return [info.id for info in self.models()]

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
        selected = hub or next(iter(info.sources))
        self.known[info.id] = Download(info.id, selected, info.sources[selected], "running", 3 << 30, 12 << 30, 50e6, "a.b")
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


class PageStudio(Studio):
    """The real studio over a database and files of its own, without a worker process, models and hubs."""

    history: GeneratedHistory

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        settings = settings or load_settings()
        self.database = Database(put_database(folder / "studio.db"))
        history, inputs = GeneratedHistory(self.database, folder), InputImages(folder)
        catalog: Any = FakeCatalog()
        loras: Any = FakeLoras()
        worker: Any = FakeWorker()
        downloads: Any = FakeDownloads(folder)
        embeddings = EmbeddingLibrary(folder / "embeddings")
        requests = RequestBuilder(settings, catalog, loras, inputs, folder / "models", embeddings)
        super().__init__(
            settings=settings,
            requests=requests,
            queue=DrivenQueue(self.database, history, requests.prepare),
            history=history,
            catalog=catalog,
            worker=worker,
            sweeps=SweepStore(self.database, folder),
            downloads=downloads,
            input_images=inputs,
            benchmarks=BenchmarkStore(self.database),
            lora_files=loras,
            embeddings=embeddings,
            database=self.database,
            hidden=HiddenCollections(self.database, settings.access.unlock_minutes),
            studies=StudyStore(self.database),
        )
        self.system.report = lambda: system_report(self.worker.status())  # type: ignore[method-assign]
        self.system.memory = lambda: (16 * 10**9, 9 * 10**9)  # type: ignore[method-assign]

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def last_sweep(self) -> ParameterSweep:
        """Return the sweep that was stored last."""
        with self.database.reading() as connection:
            newest = select(tables.sheets.c.id).order_by(tables.sheets.c.created_at.desc()).limit(1)
            return self.sweeps.get(connection.execute(newest).scalar_one())

    def fill_history(self, count: int = 8) -> list[ImageRecord]:
        """Return images of the last days, newest first."""
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
            self.history.generated(request, created_at=now - timedelta(hours=7 * k))
        return list(self.history.records)
