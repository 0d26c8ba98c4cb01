"""Build a studio from settings: the only place that wires its parts. Nothing runs until `Studio.start`."""

from __future__ import annotations

from importlib.util import find_spec

from core.cluster import dispatcher
from core.config.loader import Settings
from core.errors import OptionError, UnavailableError
from core.history.benchmark_store import BenchmarkStore, StudyStore
from core.history.hidden_collections import HiddenCollections
from core.history.store import History
from core.history.sweeps import SweepStore
from core.i18n import localize
from core.jobs import worker
from core.jobs.queue import JobQueue
from core.jobs.supervisor import WorkerSupervisor
from core.jobs.tenant import check_tenant
from core.jobs.worker_process import open_database, open_store
from core.models.catalog import Catalog
from core.models.controlnet_library import ControlNetLibrary
from core.models.embedding_library import FOLDER as EMBEDDING_FOLDER
from core.models.embedding_library import EmbeddingLibrary
from core.models.hub.downloads import downloads_of
from core.models.lora_library import LoraLibrary, lora_files
from core.models.model_paths import ModelPaths, places_of
from core.models.upscaler_library import FOLDER as UPSCALER_FOLDER
from core.models.upscaler_library import UpscalerLibrary
from core.remote.catalog import RemoteCatalog, RemoteLoras
from core.remote.client import Remote
from core.storage.database import check_belonging
from core.storage.input_images import MEGABYTE, InputImages
from core.studio import Studio
from core.studio.request_builder import RequestBuilder

_NO_RAY = localize("studio.bootstrap.no_ray")
_NOT_BOTH = localize("studio.bootstrap.not_both")
PAGE_SECONDS = 2.0  # a page waits at most this long for a remote studio


def build_studio(settings: Settings) -> Studio:
    """Return the studio over the settings' output folder, after repairing what a crash left there.

    Raises:
        NotWritableError, DiskFullError: the folder can't be used.
        OptionError: an address can't be one.
    """
    _check_executor(settings)
    check_tenant(settings)
    directory = settings.output_directory
    places = places_of(settings)
    catalog, loras = _catalog(settings, places), _loras(settings)
    database = open_database(directory, settings.values)
    store = open_store(directory, settings.values)
    check_belonging(database, store)
    history = History(database, store)
    history.reconcile()
    input_images = InputImages(store, MEGABYTE * settings.service.inputs_mb)
    embeddings = None if settings.remote.url else EmbeddingLibrary(places.store / EMBEDDING_FOLDER)
    upscalers = None if settings.remote.url else UpscalerLibrary(places.store / UPSCALER_FOLDER)
    controlnets = ControlNetLibrary(catalog) if isinstance(catalog, Catalog) else None
    requests = RequestBuilder(settings, catalog, loras, input_images, places.store, embeddings, upscalers, controlnets)
    return Studio(
        settings=settings,
        requests=requests,
        queue=JobQueue(database, prepare=requests.prepare),
        history=history,
        catalog=catalog,
        worker=WorkerSupervisor(settings, database, worker_module=worker_module(settings)),
        sweeps=SweepStore(database, store),
        downloads=downloads_of(settings, places.store),
        input_images=input_images,
        benchmarks=BenchmarkStore(database),
        lora_files=loras,
        embeddings=embeddings,
        database=database,
        hidden=HiddenCollections(database, settings.access.unlock_minutes),
        studies=StudyStore(database),
    )


def worker_module(settings: Settings) -> str:
    """Return the module that the worker process runs, as `worker.executor` says."""
    return dispatcher.__name__ if settings.worker.executor == "ray" else worker.__name__


def _loras(settings: Settings) -> LoraLibrary | RemoteLoras:
    """Return this machine's LoRA files, or those of the remote studio that generates for this one."""
    server = settings.remote.url
    if not server:
        return lora_files(settings)
    return RemoteLoras(Remote(server, settings.remote.token, reaching=PAGE_SECONDS))


def _check_executor(settings: Settings) -> None:
    """Raise for an executor that can't be used, before anything is opened. Only the dispatcher imports ray."""
    if settings.worker.executor != "ray":
        return
    if settings.remote.url:
        raise OptionError(
            source=settings.origins["worker.executor"], key="worker.executor", value="ray", allowed=_NOT_BOTH
        )
    if find_spec("ray") is None:
        raise UnavailableError(key="worker.executor", value="ray", reason=_NO_RAY)


def _catalog(settings: Settings, places: ModelPaths) -> Catalog | RemoteCatalog:
    """Return this machine's models, or those of the remote studio that generates for this one."""
    own = Catalog(settings.configs, places)
    server = settings.remote.url
    if not server:
        return own
    remote = Remote(server, settings.remote.token, reaching=PAGE_SECONDS)
    return RemoteCatalog(remote, own)
