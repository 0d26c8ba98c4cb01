"""The only place where the parts are wired together. Nothing runs until `Studio.start`.

What this module does not know: how any part works.
"""

from __future__ import annotations

from importlib.util import find_spec

from core.config.layers import Settings
from core.errors import OptionError, UnavailableError
from core.jobs.orders import LOG_FILE, open_database, open_store
from core.jobs.queue import JobQueue
from core.jobs.supervisor import WorkerSupervisor
from core.model.catalog import Catalog
from core.model.hub.downloads import downloads_of
from core.model.lora_files import lora_files
from core.model.places import Places, places_of
from core.parts import Catalog as AnyCatalog
from core.parts import Loras
from core.remote.catalog import RemoteCatalog
from core.remote.client import Remote
from core.remote.loras import RemoteLoras
from core.storage.belonging import check_belonging
from core.storage.comparisons import Comparisons
from core.storage.history import History
from core.storage.inputs import Inputs
from core.storage.sheets import Sheets
from core.studio import Studio
from core.system import Machine

_NO_RAY = {
    "en": "the package ray is missing (.venv/bin/pip install -r requirements-extras.txt)",
    "zh": "缺少 ray 软件包（.venv/bin/pip install -r requirements-extras.txt）",
}
_NOT_BOTH = {"en": "local, as worker.server is set", "zh": "local，因为已设置 worker.server"}
PAGE_SECONDS = 2.0  # that a page may wait for another studio


def build_studio(settings: Settings) -> Studio:
    """The studio over the settings' output folder; what a crash left there is repaired.

    NotWritableError or DiskFullError when the folder can't be used, OptionError for an address that can't be one.
    """
    _check_executor(settings)
    directory = settings.output_directory
    places = places_of(settings)
    catalog = _catalog(settings, places)
    database = open_database(directory, settings.values)
    store = open_store(directory, settings.values)
    check_belonging(database, store)
    history = History(database, store)
    history.sweep()
    return Studio(
        settings=settings,
        queue=JobQueue(database),
        history=history,
        catalog=catalog,
        downloads=downloads_of(settings, places.store),
        loras=_loras(settings),
        worker=WorkerSupervisor(settings, database),
        sheets=Sheets(database, store),
        inputs=Inputs(store),
        comparisons=Comparisons(database),
        system=Machine(settings, directory / LOG_FILE),
    )


def _loras(settings: Settings) -> Loras:
    """This machine's LoRA files, or those of the studio that draws for this one."""
    server = str(settings["worker.server"])
    if not server:
        return lora_files(settings)
    return RemoteLoras(Remote(server, str(settings["worker.server_token"]), reaching=PAGE_SECONDS))


def _check_executor(settings: Settings) -> None:
    """Refuse what is missing before anything is opened; ray itself is imported by the dispatcher alone."""
    if settings["worker.executor"] != "ray":
        return
    if settings["worker.server"]:
        raise OptionError(
            source=settings.origins["worker.executor"], key="worker.executor", came="ray", allowed=_NOT_BOTH
        )
    if find_spec("ray") is None:
        raise UnavailableError(key="worker.executor", came="ray", reason=_NO_RAY)


def _catalog(settings: Settings, places: Places) -> AnyCatalog:
    """This machine's models, or those of the studio that draws for this one."""
    own = Catalog(settings.configs, places)
    server = str(settings["worker.server"])
    if not server:
        return own
    remote = Remote(server, str(settings["worker.server_token"]), reaching=PAGE_SECONDS)
    return RemoteCatalog(remote, own)
