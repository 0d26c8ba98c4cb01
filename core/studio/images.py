"""Measure and import images, generate stored images again and say why the results differ; keep collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from core.config.lora_syntax import KEY, read_uses
from core.config.schema import AUTO
from core.errors import ImportFileError, OptionError, StudioError
from core.history import reading_process, used_files
from core.history.hidden_collections import HiddenCollections, Scope
from core.history.image_import import MAX_FILE
from core.history.image_quality import ImageStats, compare_images, heat_map, look
from core.history.store import History
from core.history.sweeps import SweepStore
from core.i18n import localize
from core.jobs.queue import JobQueue
from core.jobs.supervisor import WorkerSupervisor
from core.models.catalog import Catalog
from core.models.lora_library import LoraLibrary
from core.remote.catalog import RemoteCatalog, RemoteLoras
from core.storage.image_containers import FORMATS
from core.storage.infotext import LORA_HASHES, read_lora_hashes
from core.studio import request_builder, sweep_axes
from core.studio.request_builder import RequestBuilder
from core.studio.sweep_axes import MAX_CELLS, MOST_AXES
from core.types import (
    Axis,
    Change,
    Difference,
    FoundParameters,
    GenerationRequest,
    ImageRecord,
    ParameterSweep,
    RerunResult,
    SubmitOptions,
    Viewer,
    WorkerStatus,
)


class Images:
    """Statistics and comparison of stored images, parameters of image files, import of folders."""

    def __init__(self, history: History, loras: LoraLibrary | RemoteLoras) -> None:
        self._history = history
        self._loras = loras

    def stats(self, image_id: str) -> ImageStats:
        """Return sharpness, clipping and colour cast of an image. NotFoundError when its file is gone."""
        return look(self._history.file(image_id))

    def difference(self, one: str, other: str) -> Difference:
        """Return how two images differ, pixel by pixel."""
        return compare_images(self._history.file(one), self._history.file(other))

    def difference_map(self, one: str, other: str) -> bytes:
        """Return a heat map of where two images differ, as PNG."""
        return heat_map(self._history.file(one), self._history.file(other))

    def read_parameters(self, data: bytes) -> FoundParameters | None:
        """Return the generation parameters in an image file of any known program; None when it is no image.

        LoRAs with other names here are found by the hashes in the file.
        """
        found = reading_process.shared.read(data)
        if found is None or KEY not in found.values:
            return found
        hashes = read_lora_hashes(found.unused.get(LORA_HASHES, ""))
        uses = read_uses(found.values[KEY], found.program)
        here = tuple(str(replace(use, name=self._loras.named(use.name, hashes.get(use.name, "")))) for use in uses)
        return replace(found, values={**found.values, KEY: here})

    def files_in(self, folder: Path) -> tuple[Path, ...]:
        """Return the image files in a folder of this machine, without subfolders and links. Raises ImportFileError."""
        try:
            paths = sorted(path for path in folder.expanduser().iterdir() if path.is_file() and not path.is_symlink())
        except (OSError, ValueError, RuntimeError) as error:  # the last two: a NUL, a home that there is not
            detail = getattr(error, "strerror", None) or error
            raise ImportFileError(file=folder, detail=detail) from error
        return tuple(path for path in paths if path.suffix.lower() in FORMATS)

    def import_file(self, path: Path) -> tuple[ImageRecord, bool]:
        """Import an image file of this machine; return its record and whether it is new. Raises ImportFileError or StorageError."""
        try:
            if path.stat().st_size > MAX_FILE:  # before it is read
                raise ImportFileError(file=path.name, detail=f"> {MAX_FILE // 1_000_000} MB")
            made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            return self._history.import_image(path.read_bytes(), path.name, made)
        except OSError as error:
            raise ImportFileError(file=path, detail=error) from error


class Reruns:
    """Generate a stored image again: unchanged, or over the values of options."""

    def __init__(
        self,
        history: History,
        catalog: Catalog | RemoteCatalog,
        worker: WorkerSupervisor,
        queue: JobQueue,
        builder: RequestBuilder,
        sweeps: SweepStore,
        images: Images,
    ) -> None:
        self._history = history
        self._catalog = catalog
        self._worker = worker
        self._queue = queue
        self._builder = builder
        self._sweeps = sweeps
        self._images = images

    def expected_changes(self, image_id: str) -> tuple[Change, ...]:
        """Return why a rerun would not be identical, as far as it is known before. UnknownModelError without the model."""
        record = self._history.get(image_id)
        known = {**self._catalog.conditions(record.request.model), **self._file_conditions(record)}
        return expected_changes(record, known, self._worker.status())

    def _file_conditions(self, record: ImageRecord) -> dict[str, str]:
        """Return the hash that each file beside the model has now, without those that are gone: the run names them."""
        now: dict[str, str] = {}
        for kind in used_files.KINDS:
            for name in used_files.file_hashes(record.effective, kind):
                with suppress(StudioError, OSError):
                    if digest := self._builder.file_hash(kind, name):
                        now[f"{kind}.{name}"] = digest
        return now

    def result(self, image_id: str, again: str) -> RerunResult:
        """Compare an image with its rerun, pixel by pixel, with the reasons of a difference."""
        gap = self._images.difference(image_id, again)
        return rerun_result(self._history.get(image_id), self._history.get(again), gap)

    def sweep(self, image_id: str, axes: Sequence[Axis], terms: SubmitOptions | None = None) -> ParameterSweep:
        """Generate an image again over the values of axes, see `sweep_request`."""
        return self.sweep_request(self._history.get(image_id).request, axes, terms, image_id)

    def sweep_request(
        self, request: GenerationRequest, axes: Sequence[Axis], terms: SubmitOptions | None = None, image_id: str = ""
    ) -> ParameterSweep:
        """Generate a request for every combination of the values of one to three axes, each as a job, all with one seed.

        `image_id` is the image that the request came from, "" for none. Jobs of one model run one after another, so that
        each model is loaded once.

        Raises:
            InputError: before anything is queued, when a value can't be used or there are more than MAX_CELLS images.
        """
        request = request_builder.with_seed(request)
        axes = [sweep_axes.of_cfg_scale(axis, self._catalog.find(request.model)) for axis in axes]
        cells = list(product(*(axis.values for axis in reversed(axes))))
        keys = {axis.key for axis in axes}
        if not 1 <= len(axes) <= MOST_AXES or len(keys) < len(axes) or not 1 <= len(cells) <= MAX_CELLS:
            allowed = localize("studio.images.cells_of_a_sweep", max_cells=MAX_CELLS, axes=MOST_AXES)
            raise OptionError(source=sweep_axes.SOURCE, key="cells", value=len(cells), allowed=allowed)
        axes = [sweep_axes.read(axis.key, axis.values, request) for axis in axes]
        requests = [self._cell(request, axes, cell) for cell in cells]
        order = sorted(range(len(requests)), key=lambda k: [one.model for one in requests].index(requests[k].model))
        stored: list[str] = []

        def store(connection: Connection, job_ids: Sequence[str]) -> None:
            in_reading_order = [job_ids[order.index(k)] for k in range(len(order))]
            stored.append(self._sweeps.put(connection, image_id, axes, in_reading_order))

        self._queue.submit_all([requests[k] for k in order], terms, store)
        return self._sweeps.get(stored[0])

    def _cell(self, request: GenerationRequest, axes: Sequence[Axis], cell: Sequence[Any]) -> GenerationRequest:
        """Return the checked request of one cell; `cell` has the values of the last axis first."""
        for axis, value in zip(reversed(axes), cell, strict=True):
            request = sweep_axes.applied(request, axis, value)
        self._builder.check_single(request, self._catalog.find(request.model), sweep_axes.SOURCE)
        return request


# What may change the pixels of the same request; everything else that is in effect is part of the request.
DECISIVE = (
    "model.device",
    "model.dtype",
    "scheduler",
    "scheduler.shift",
    "vae.tiles",
    "transformer.rope",
)
CHOSEN = ("model.device", "model.dtype")  # by the request or, where it says "auto", by the machine


def conditions(effective: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decided the pixels, flat: the model's parts, device, dtype, library versions, the hash of every other file."""
    found = {name: effective[name] for name in DECISIVE if name in effective}
    versions = effective.get("versions")
    if isinstance(versions, Mapping):
        found |= {f"versions.{name}": value for name, value in versions.items()}
    return {**used_files.model_hashes(effective), **found, **used_files.hashes(effective)}


def changed_file(change: Change) -> tuple[str, str]:
    """Return the kind and the name of a file that is another one: "model" with its part, "lora" ..., "" for anything else."""
    kind, name = used_files.named(change.name)
    return kind, name.replace("_", " ") if kind == used_files.MODEL else name


def changed_conditions(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the known conditions that differ. Of the model's hashes the most exact that both know are compared."""
    return tuple(Change(name, before[name], now[name]) for name in used_files.changed(before, now))


def expected_changes(record: ImageRecord, known: Mapping[str, Any], worker: WorkerStatus) -> tuple[Change, ...]:
    """Return what will differ from `record` in a rerun, as far as known before it.

    `known` is of its model and the libraries; the device and the dtype that "auto" means are known while it is loaded.
    """
    now = {**known, **used_files.model_hashes(known)}
    if worker.model == record.request.model:
        now |= {decision.option: decision.effective for decision in worker.decisions if decision.option in DECISIVE}
    asked = {name: record.request.options.get(name, AUTO) for name in CHOSEN}
    now |= {name: value for name, value in asked.items() if value != AUTO}
    return changed_conditions(conditions(record.effective), now)


def rerun_result(before: ImageRecord, again: ImageRecord, difference: Difference) -> RerunResult:
    """Return whether the rerun is identical, and the reasons of a difference as far as known."""
    reasons = changed_conditions(conditions(before.effective), conditions(again.effective))
    if before.format != again.format:
        reasons = (*reasons, Change("output.format", before.format, again.format))
    return RerunResult(difference, () if difference.identical else reasons)


class Collections:
    """The hidden collections of a viewer. Admins also have those of no user, hidden before there were users."""

    def __init__(self, hidden: HiddenCollections, viewer: Viewer) -> None:
        self._hidden = hidden
        self._viewer = viewer
        self._owners = tuple(dict.fromkeys((viewer.owner, "") if viewer.admin else (viewer.owner,)))

    def scope(self) -> Scope:
        """Return what the viewer may see at this moment."""
        pairs = self._hidden.pairs(self._owners)
        return Scope(self._viewer, self._hidden.locked(self._viewer.client, pairs), pairs)

    def hide(self, name: str, password: str) -> None:
        """Hide a collection of the viewer; it is locked at once. Raises HidingError."""
        self._hidden.hide(self._viewer.owner, name, password)

    def unlock(self, name: str, password: str) -> float:
        """Unlock a hidden collection and return for how many seconds.

        Raises CollectionPasswordError or CollectionTriesError.
        """
        pair = self._hidden.unlock(self._viewer.client, self._owners, name, password)
        return self._hidden.seconds_left(self._viewer.client, pair)

    def show_again(self, name: str, password: str) -> None:
        """Hide a collection no longer. Raises CollectionPasswordError or CollectionTriesError."""
        self._hidden.show_again(self._viewer.client, self._owners, name, password)

    def lock(self) -> None:
        """Lock every hidden collection for the viewer."""
        self._hidden.lock(self._viewer.client)

    def unlocked(self) -> dict[str, float]:
        """Return the hidden collections that are unlocked, and in how many seconds each is locked again."""
        left = {
            pair[1]: self._hidden.seconds_left(self._viewer.client, pair) for pair in self._hidden.pairs(self._owners)
        }
        return {name: seconds for name, seconds in left.items() if seconds}

    def any_locked(self) -> bool:
        """Return True if the viewer has a hidden collection that is locked."""
        return bool(self.scope().locked)
