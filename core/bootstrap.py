"""The only place where the parts are wired together. Nothing runs until `Studio.start`.

What this module does not know: how any part works.
"""

from __future__ import annotations

from core.config.layers import Settings
from core.jobs.orders import DATABASE_FILE, LOG_FILE
from core.jobs.queue import JobQueue
from core.jobs.supervisor import WorkerSupervisor
from core.model.catalog import Catalog
from core.model.hub.downloads import downloads_of
from core.model.places import places_of
from core.storage.database import Database
from core.storage.history import History
from core.storage.sheets import Sheets
from core.studio import Studio
from core.system import Machine


def build_studio(settings: Settings) -> Studio:
    """The studio over the settings' output folder; what a crash left there is repaired.

    NotWritableError or DiskFullError when the folder can't be used.
    """
    directory = settings.output_directory
    database = Database(directory / DATABASE_FILE)
    history = History(database, directory)
    history.sweep()
    places = places_of(settings)
    return Studio(
        settings=settings,
        queue=JobQueue(database),
        history=history,
        catalog=Catalog(settings.configs, places),
        downloads=downloads_of(settings, places.store),
        worker=WorkerSupervisor(settings, database),
        sheets=Sheets(database, directory),
        system=Machine(settings, directory / LOG_FILE),
    )
