"""Models: which there are, fetching them, loading and unloading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.config.loras import KEY
from core.errors import (
    InputError,
    ModelFileError,
    NotFoundError,
    StudioError,
)
from core.studio.desk import Desk
from core.types import (
    Download,
    HistoryQuery,
    ImageRecord,
    LoraInfo,
    ModelInfo,
)


class Models(Desk):
    """The verbs of models and their downloads."""

    def models(self) -> Sequence[ModelInfo]:
        """The catalogue, with the reason where a model can't be used."""
        return self._catalog.models()

    def model(self, model_id: str) -> ModelInfo:
        """One entry, by id or by the path of a folder; UnknownModelError or ModelFileError."""
        return self._catalog.find(model_id)

    def model_problems(self) -> Sequence[InputError]:
        """What is wrong with files of the catalogue that are no entries."""
        return self._catalog.problems()

    def add_model(self, path: str, model_id: str | None = None) -> ModelInfo:
        """Put a folder or file of this machine into the catalogue; ModelFileError when it can't be used."""
        return self._catalog.add(path, model_id)

    def remove_model(self, model_id: str) -> None:
        """Delete the files that were fetched, or take the user's own entry out of the catalogue. ModelFileError for others."""
        info = self._catalog.find(model_id)
        if info.own and info.place != "store" and self._catalog.forget(model_id):
            return
        if not self._downloads.remove_files(info):
            raise ModelFileError(model=info.id, file=info.path or info.id, problem=_NOT_OURS)

    def loras(self) -> Sequence[LoraInfo]:
        """The LoRA files, with the reason where one can't be used, and whether there is a picture to show what each does."""
        return [replace(lora, preview=lora.preview or bool(self._made_with(lora.name))) for lora in self._loras.all()]

    def lora_preview(self, name: str) -> Path:
        """The picture that shows what a LoRA does: the one beside its file, else the thumbnail of the newest made with it.

        UnknownLoraError, or NotFoundError when there is none.
        """
        beside = self._loras.preview(name)
        if beside is not None:
            return beside
        made = self._made_with(name)
        if not made:
            raise NotFoundError(kind="preview of a LoRA", came=name[:100])
        return self._history.thumbnail(made[0].id)

    def _made_with(self, name: str) -> Sequence[ImageRecord]:
        """The newest picture that has this LoRA in its options, or none."""
        return self._history.search(HistoryQuery(options={KEY: name}, limit=1)).records

    def remove_lora(self, name: str) -> None:
        """Delete the user's own file and its preview; LoraFileError for a shipped one."""
        self._loras.remove(name)

    def load_model(self, model_id: str) -> None:
        """Have the worker load it, between two jobs and with the settings' options; the present one is freed first."""
        info = self._catalog.find(model_id)
        if info.problem is not None:
            raise info.problem
        self._worker.load(info.id, self.settings.request_options())

    def unload_model(self) -> None:
        """Have the worker give the model's memory back."""
        self._worker.unload()

    def load_error(self) -> StudioError | None:
        """Why the last model that was to be loaded could not be."""
        return self._worker.refusal()

    def downloads(self) -> Sequence[Download]:
        """The models on their way, and how far they are."""
        return self._downloads.all()

    def download(self, model_id: str, hub: str | None = None, endpoint: str | None = None) -> tuple[Download, ...]:
        """Fetch a model of the catalogue in a process of its own, from the hub named, else from the first that has it.

        Of a ControlNet also the model that it is added to, where that is not here: each is a download of its own.
        """
        info = self._catalog.find(model_id)
        wanted = [info]
        if info.base_id:
            base = self._catalog.find(info.base_id)
            missing = base.problem is not None and bool(base.sources)
            wanted = [*([base] if missing else []), *([] if missing and info.path else [info])]
        return tuple(
            self._downloads.start(one, *((hub, endpoint) if hub is None or hub in one.sources else (None, None)))
            for one in wanted
        )

    def pause_download(self, model_id: str) -> None:
        """Stop it; what has arrived is kept."""
        self._downloads.pause(model_id)

    def resume_download(self, model_id: str) -> None:
        """Go on from where it was."""
        self._downloads.resume(model_id)

    def cancel_download(self, model_id: str) -> None:
        """Stop it, and throw away what has arrived."""
        self._downloads.cancel(model_id)

    def save_token(self, hub: str, token: str) -> None:
        """Keep a hub's token in a file that nobody else can read; an empty one is removed."""
        self._downloads.save_token(hub, token)

    def has_token(self, hub: str) -> bool:
        """Whether there is one, in the environment or that file."""
        return self._downloads.has_token(hub)

    def models_folder(self) -> Path:
        """Where downloads are kept."""
        return self._downloads.store


_NOT_OURS = {
    "en": "these files were not fetched by the studio and are not deleted; only downloads and added entries can be removed",
    "zh": "这些文件不是本程序下载的，不会删除；只能移除下载的模型和添加的条目",
}
