"""Offer the studio to pages, command line and HTTP service: one object composed of its parts.

Each part is an attribute and is called directly, `studio.queue.cancel(job_id)`. `core.studio.bootstrap` builds a studio.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from core.config.loader import Settings
from core.config.presets import Presets
from core.history.benchmark_store import BenchmarkStore, StudyStore
from core.history.hidden_collections import HiddenCollections
from core.history.store import History
from core.history.sweeps import SweepStore
from core.jobs.queue import JobQueue
from core.jobs.supervisor import WorkerSupervisor
from core.jobs.viewed_queue import Quota, ViewedQueue
from core.models.catalog import Catalog
from core.models.embedding_library import EmbeddingLibrary
from core.models.hub.downloads import Downloads
from core.models.lora_library import LoraLibrary
from core.remote.catalog import RemoteCatalog, RemoteLoras
from core.storage.database import Database
from core.storage.input_images import InputImages
from core.studio.drafts import Drafts
from core.studio.estimates import Estimates
from core.studio.hardware import Gauges
from core.studio.images import Collections, Images, Reruns
from core.studio.models import Models
from core.studio.prompt_help import PromptHelp
from core.studio.queue_end import QueueEnd
from core.studio.request_builder import RequestBuilder
from core.studio.system import System, UserUsage, quota_of
from core.studio.why import Why
from core.types import ANYONE, Viewer

VIEWERS = 256  # whose view of the studio is kept


class Studio:
    """All parts over one output folder. Thread-safe: many pages share one studio.

    requests      complete, checked requests made of values, batches and input images
    queue         jobs: submit, look at, cancel, pause, reorder
    history       stored images: search, files, tags, ratings, trash
    images        statistics and comparison of stored images, import from folders
    reruns        images generated again, and parameter sweeps
    sweeps        stored sweeps and their contact sheets
    benchmarks    stored benchmarks and votes (see core.benchmark)
    input_images  uploaded images for img2img, inpainting and ControlNet
    catalog       known models
    models        load, download and remove models; LoRAs with their previews
    lora_files    LoRA files
    downloads     running downloads, and tokens of the hubs
    worker        the worker process: status, unload, workers of a cluster
    system        report on this machine, and diagnosis of recent jobs
    estimates     what a request will cost: time, memory, disk, and whether it fits
    drafts        small images that show at once what a change will do, never stored
    prompt_help   prompts enhanced and translated by the text encoder that is loaded
    gauges        memory and GPU over the last hour
    presets       presets: the shipped ones, those of admins, and a user's own
    collections   hidden collections of the viewer
    usage         how much users have generated
    queue_end     what happens when jobs end and the queue is empty
    why           why two images differ: images between them, a change at a time

    `seen_by(viewer)` is the same studio with the rights of a viewer.
    """

    def __init__(
        self,
        settings: Settings,
        requests: RequestBuilder,
        queue: JobQueue,
        history: History,
        catalog: Catalog | RemoteCatalog,
        worker: WorkerSupervisor,
        sweeps: SweepStore,
        downloads: Downloads,
        input_images: InputImages,
        benchmarks: BenchmarkStore,
        lora_files: LoraLibrary | RemoteLoras,
        embeddings: EmbeddingLibrary | None,
        database: Database,
        hidden: HiddenCollections,
        studies: StudyStore,
        viewer: Viewer = ANYONE,
    ) -> None:
        self.settings = settings
        self.requests = requests
        self.queue = queue
        self.history = history
        self.catalog = catalog
        self.worker = worker
        self.sweeps = sweeps
        self.downloads = downloads
        self.input_images = input_images
        self.benchmarks = benchmarks
        self.lora_files = lora_files
        self.images = Images(history, lora_files)
        self.reruns = Reruns(history, catalog, worker, queue, requests, sweeps, self.images)
        self.models = Models(settings, catalog, lora_files, embeddings, downloads, worker, history)
        self.estimates = Estimates(settings, catalog, history, worker)
        self.gauges = Gauges(lambda: worker.status().memory_bytes)
        self.drafts = Drafts(settings, catalog, requests, worker)
        self.prompt_help = PromptHelp(settings, catalog)
        self.system = System(settings, queue, history, catalog, worker)
        self.queue_end = QueueEnd(settings, queue)
        self.why = Why(history, queue, requests, studies)
        self.viewer = viewer
        self.presets = Presets(settings, "" if viewer.admin else viewer.owner)
        self.collections = Collections(hidden, viewer)
        self.usage = UserUsage(database, viewer, quota_of(settings))
        self._embeddings = embeddings
        self._database = database
        self._hidden = hidden
        self._studies = studies
        self._views: OrderedDict[Viewer, Studio] = OrderedDict()
        self._guard = threading.Lock()

    def seen_by(self, viewer: Viewer) -> Studio:
        """Return this studio as a viewer sees it: history, queue, sweeps, benchmarks and presets with the viewer's rights."""
        with self._guard:
            view = self._views.pop(viewer, None) or self._view(viewer)
            self._views[viewer] = view
            while len(self._views) > VIEWERS:
                self._views.popitem(last=False)
            return view

    def _view(self, viewer: Viewer) -> Studio:
        scope = Collections(self._hidden, viewer).scope
        view = Studio(
            settings=self.settings,
            requests=self.requests,
            queue=ViewedQueue(self.queue, scope, quota_of(self.settings) if viewer.private else Quota()),
            history=self.history.seen_by(scope),
            catalog=self.catalog,
            worker=self.worker,
            sweeps=self.sweeps.seen_by(scope),
            downloads=self.downloads,
            input_images=self.input_images,
            benchmarks=self.benchmarks.seen_by(scope),
            lora_files=self.lora_files,
            embeddings=self._embeddings,
            database=self._database,
            hidden=self._hidden,
            studies=self._studies.seen_by(scope),
            viewer=viewer,
        )
        view.estimates, view.gauges, view.prompt_help = self.estimates, self.gauges, self.prompt_help
        view.drafts = self.drafts
        view.queue_end = self.queue_end
        return view

    def start(self) -> None:
        """Start the worker process and keep it alive, unless another studio over the same folder has one."""
        self.worker.start()

    def stop(self) -> None:
        """Stop the downloads and the worker process that this studio started."""
        self.queue_end.stop()
        self.gauges.stop()
        self.downloads.stop()
        self.worker.stop()
