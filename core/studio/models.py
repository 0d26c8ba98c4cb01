"""Load, download and remove models; list LoRAs with their previews."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from core.config.loader import Settings
from core.config.lora_syntax import KEY
from core.errors import (
    EmbeddingError,
    ModelFileError,
    NotFoundError,
    NotWritableError,
    UnavailableError,
    UnknownModelError,
)
from core.history.store import History
from core.i18n import localize
from core.jobs.supervisor import WorkerSupervisor
from core.models.catalog import Catalog
from core.models.embedding_library import Embedding, EmbeddingLibrary
from core.models.families import FAMILIES
from core.models.hub.downloads import Downloads
from core.models.lora_library import LoraLibrary
from core.models.model_paths import PREVIEW_MAP, tiny_decoder_folder
from core.models.prepared_files import PreparedFile, prepared_files, remove_prepared
from core.models.shrink import shrink
from core.remote.catalog import RemoteCatalog, RemoteLoras
from core.types import Download, HistoryQuery, ImageRecord, LoraInfo, ModelInfo


class Models:
    """Actions on models and LoRAs that need more than the catalogue or the downloads alone."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog | RemoteCatalog,
        lora_files: LoraLibrary | RemoteLoras,
        embeddings: EmbeddingLibrary | None,
        downloads: Downloads,
        worker: WorkerSupervisor,
        history: History,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._lora_files = lora_files
        self._embeddings = embeddings
        self._downloads = downloads
        self._worker = worker
        self._history = history

    def load(self, model_id: str) -> None:
        """Have the worker load a model between two jobs, with the settings' options. The present one is unloaded first."""
        info = self._catalog.find(model_id)
        if info.problem is not None:
            raise info.problem
        self._worker.load(info.id, self._settings.request_options())

    def remove(self, model_id: str) -> None:
        """Delete downloaded files, or remove the user's own entry from the catalogue. ModelFileError for other models.

        The prepared weights of the model go with it.
        """
        info = self._catalog.find(model_id)
        self._remove_model(info)
        self.remove_prepared(info.id)

    def _remove_model(self, info: ModelInfo) -> None:
        if info.own and info.place != "store" and self._catalog.forget(info.id):
            return
        if not self._downloads.remove_files(info):
            raise ModelFileError(model=info.id, file=info.path or info.id, problem=_NOT_OURS)

    def prepared(self) -> Sequence[PreparedFile]:
        """Return the prepared weights on this machine, by model: parts as they are used, written by an earlier load."""
        return prepared_files(self._downloads.store)

    def remove_prepared(self, model_id: str | None = None) -> int:
        """Delete the prepared weights of a model, or of all, and return their bytes. NotWritableError when the disk refuses."""
        try:
            return remove_prepared(self._downloads.store, model_id)
        except OSError as error:
            raise NotWritableError(path=self._downloads.store) from error

    def shrink(self, model_id: str, on_bytes: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Replace a downloaded model's float32 weights by bfloat16, and return the bytes that became free.

        `on_bytes` gets the bytes read so far and in all. What was prepared of the model is removed: it is of other weights.
        Raises ModelFileError for other models, NotWritableError when the disk refuses.
        """
        info = self._catalog.find(model_id)
        try:
            freed = shrink(info, on_bytes)
        except OSError as error:
            raise NotWritableError(path=Path(info.path or "")) from error
        return freed + (self.remove_prepared(model_id) if freed else 0)

    def download(self, model_id: str, hub: str | None = None, endpoint: str | None = None) -> tuple[Download, ...]:
        """Download a model of the catalogue in a process of its own, from `hub`, else from the first hub that has it.

        A ControlNet brings its base model, and a model made of parts brings these, each as a download of its own.
        """
        info = self._catalog.find(model_id)
        wanted = [info]
        if info.part_ids:
            parts = [part for name in info.part_ids if (part := self._catalog.find(name)).path is None]
            wanted = [*parts, *([] if info.path and parts else [info])]
        if info.base_id:
            base = self._catalog.find(info.base_id)
            missing = base.problem is not None and bool(base.sources)
            wanted = [*([base] if missing else []), *([] if missing and info.path else [info])]
        return tuple(
            self._downloads.start(one, *((hub, endpoint) if hub is None or hub in one.sources else (None, None)))
            for one in wanted
        )

    def preview_decoder(self, info: ModelInfo) -> ModelInfo | None:
        """Return the tiny decoder that shows more in a usable model's previews; None where it is here or there is none."""
        name = FAMILIES[info.pipeline].tiny_decoder if info.pipeline in FAMILIES else ""
        if not name or info.problem is not None or isinstance(self._catalog, RemoteCatalog):
            return None
        has_own = info.path is not None and (Path(info.path) / PREVIEW_MAP).is_file()
        if has_own or tiny_decoder_folder(self._downloads.store, name) is not None:
            return None
        try:
            decoder = self._catalog.find(name)
        except UnknownModelError:  # its file was taken out of the catalogue
            return None
        return decoder if decoder.sources else None

    def embeddings(self) -> tuple[Sequence[Embedding], Mapping[str, EmbeddingError]]:
        """Return the textual inversion embeddings of this machine that can be used, and why the other files can't."""
        return ((), {}) if self._embeddings is None else self._embeddings.all()

    def loras(self) -> Sequence[LoraInfo]:
        """Return the LoRA files, with the reason where one can't be used, and whether a preview exists."""
        shown = self._history.option_members(KEY)
        return [replace(lora, preview=lora.preview or lora.name in shown) for lora in self._lora_files.all()]

    def asks_civitai(self) -> bool:
        """Return True when the user has allowed it, and the LoRA files are on this machine."""
        return bool(self._settings.lora.civitai) and isinstance(self._lora_files, LoraLibrary)

    def look_up_lora(self, name: str) -> Sequence[str]:
        """Return the trigger words that Civitai knows of a LoRA's file, by its hash alone; they are kept beside the file.

        Raises:
            UnavailableError: `lora.civitai` is off, or the files are on another machine.
            UnknownLoraError, LoraFileError: there is no such file, or Civitai does not know it or could not be asked.
        """
        if not isinstance(self._lora_files, LoraLibrary) or not self.asks_civitai():
            raise UnavailableError(key="lora.civitai", value=name[:100], reason=_NOT_ASKED)
        return self._lora_files.look_up(name)

    def lora_preview(self, name: str) -> bytes:
        """Return a WebP: the image beside a LoRA file, else the thumbnail of the newest image made with it.

        Raises:
            UnknownLoraError: there is no such LoRA.
            NotFoundError: there is no preview.
        """
        beside = self._lora_files.preview(name)
        if beside is not None:
            return beside
        made = self._made_with(name)
        if not made:
            raise NotFoundError(kind="preview of a LoRA", value=name[:100])
        return self._history.thumbnail(made[0].id).read_bytes()

    def _made_with(self, name: str) -> Sequence[ImageRecord]:
        """Return the newest image that has this LoRA in its options, or none."""
        return self._history.search(HistoryQuery(options={KEY: name}, limit=1)).records


_NOT_ASKED = localize("studio.models.not_asked")
_NOT_OURS = localize("studio.models.not_ours")


WEIGHTS_ROOM = 1.2  # weights times this must fit: latents and activations need memory, too


def recommended_variant(variants: Sequence[ModelInfo], memory: int) -> ModelInfo:
    """Return the variant to use on a machine with `memory` bytes of VRAM (RAM without a GPU).

    One that can be used at once comes first, else the largest whose weights fit, of equal ones the smaller download; else
    the smallest.
    """
    here = [one for one in variants if one.problem is None]
    if here:
        return max(here, key=_size)
    fitting = [one for one in variants if one.memory_bytes and one.memory_bytes * WEIGHTS_ROOM <= memory]
    if fitting:
        return max(fitting, key=lambda one: (_size(one), -(one.download_bytes or 0)))
    return min(variants, key=lambda one: (_size(one), one.download_bytes or 0))


def groups_of_variants(models: Sequence[ModelInfo]) -> list[list[ModelInfo]]:
    """Return a list for each model, in the order given: the model, then its variants (`variant_of`)."""
    ids = {one.id for one in models}
    groups: dict[str, list[ModelInfo]] = {}
    for one in models:
        groups.setdefault(one.variant_of if one.variant_of in ids else one.id, []).append(one)
    return [sorted(group, key=lambda one: one.id != name) for name, group in groups.items()]


def _size(model: ModelInfo) -> int:
    return model.memory_bytes or model.disk_bytes or 0
