"""Build a studio from settings: the only place that wires its parts. Nothing runs until `Studio.start`."""

from __future__ import annotations

from importlib.util import find_spec

from core.config.layers import Settings
from core.errors import OptionError, UnavailableError
from core.jobs.orders import open_database, open_store
from core.jobs.queue import JobQueue
from core.jobs.supervisor import WorkerSupervisor
from core.model.catalog import Catalog
from core.model.hub.downloads import downloads_of
from core.model.lora_files import LoraFiles, lora_files
from core.model.places import Places, places_of
from core.remote.catalog import RemoteCatalog
from core.remote.client import Remote
from core.remote.loras import RemoteLoras
from core.requests import RequestBuilder
from core.storage.belonging import check_belonging
from core.storage.comparisons import Comparisons
from core.storage.history import History
from core.storage.inputs import Inputs
from core.storage.sheets import Sheets
from core.studio import Studio

_NO_RAY = {
    "en": "the package ray is missing (.venv/bin/pip install -r requirements-extras.txt)",
    "zh": "缺少 ray 软件包（.venv/bin/pip install -r requirements-extras.txt）",
}
_NOT_BOTH = {"en": "local, as remote.url is set", "zh": "local，因为已设置 remote.url"}
PAGE_SECONDS = 2.0  # a page waits at most this long for a remote studio


def build_studio(settings: Settings) -> Studio:
    """Return the studio over the settings' output folder, after repairing what a crash left there.

    Raises:
        NotWritableError, DiskFullError: the folder can't be used.
        OptionError: an address can't be one.
    """
    _check_executor(settings)
    directory = settings.output_directory
    places = places_of(settings)
    catalog, loras = _catalog(settings, places), _loras(settings)
    database = open_database(directory, settings.values)
    store = open_store(directory, settings.values)
    check_belonging(database, store)
    history = History(database, store)
    history.sweep()
    input_images = Inputs(store)
    requests = RequestBuilder(settings, catalog, loras, input_images)
    return Studio(
        settings=settings,
        requests=requests,
        queue=JobQueue(database, prepare=requests.prepare),
        history=history,
        catalog=catalog,
        worker=WorkerSupervisor(settings, database),
        sweeps=Sheets(database, store),
        downloads=downloads_of(settings, places.store),
        input_images=input_images,
        benchmarks=Comparisons(database),
        lora_files=loras,
    )


def _loras(settings: Settings) -> LoraFiles | RemoteLoras:
    """Return this machine's LoRA files, or those of the remote studio that generates for this one."""
    server = str(settings["remote.url"])
    if not server:
        return lora_files(settings)
    return RemoteLoras(Remote(server, str(settings["remote.token"]), reaching=PAGE_SECONDS))


def _check_executor(settings: Settings) -> None:
    """Raise for an executor that can't be used, before anything is opened. Only the dispatcher imports ray."""
    if settings["worker.executor"] != "ray":
        return
    if settings["remote.url"]:
        raise OptionError(
            source=settings.origins["worker.executor"], key="worker.executor", came="ray", allowed=_NOT_BOTH
        )
    if find_spec("ray") is None:
        raise UnavailableError(key="worker.executor", came="ray", reason=_NO_RAY)


def _catalog(settings: Settings, places: Places) -> Catalog | RemoteCatalog:
    """Return this machine's models, or those of the remote studio that generates for this one."""
    own = Catalog(settings.configs, places)
    server = str(settings["remote.url"])
    if not server:
        return own
    remote = Remote(server, str(settings["remote.token"]), reaching=PAGE_SECONDS)
    return RemoteCatalog(remote, own)
