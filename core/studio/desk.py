"""The parts that every desk of the front door works with."""

from __future__ import annotations

from core.config.layers import Settings
from core.parts import Catalog, Comparisons, Downloads, History, Inputs, Loras, Queue, Sheets, System, Worker


class Desk:
    """The parts behind one set of verbs. Thread-safe as its parts are: many pages share one studio."""

    def __init__(
        self, settings: Settings, queue: Queue, history: History, catalog: Catalog, worker: Worker, system: System,
        sheets: Sheets, downloads: Downloads, inputs: Inputs, comparisons: Comparisons, loras: Loras,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._queue = queue
        self._history = history
        self._catalog = catalog
        self._worker = worker
        self._system = system
        self._sheets = sheets
        self._downloads = downloads
        self._inputs = inputs
        self._comparisons = comparisons
        self._loras = loras
