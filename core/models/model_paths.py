"""Where models are: the studio's own folder, the caches of Hugging Face and ModelScope, and what the user allows besides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.config.loader import PROJECT_ROOT, Settings, data_folder, load_settings
from core.config.schema import AUTO

EMBEDDED = PROJECT_ROOT / "core" / "demo" / "weights"
STORE = "models"  # in the output folder


@dataclass(frozen=True)
class ModelPaths:
    """`store` is where downloads go. `extra` are folders that a path may point into; None allows every path."""

    store: Path
    extra: tuple[Path, ...] | None = None

    def allowed(self) -> tuple[Path, ...] | None:
        """The folders in which a model may lie, or None when any may be used."""
        if self.extra is None:
            return None
        return (EMBEDDED, self.store, hugging_face_cache(), *modelscope_caches(), *self.extra)


def places_of(settings: Settings, guarded: bool = True) -> ModelPaths:
    """As the settings say. A path that the settings name as the model is allowed by that.

    Not `guarded` where requests arrive that have been let in already: the worker draws what is in the queue.
    """
    wanted = settings.models.store
    store = settings.output_directory / STORE if wanted == AUTO else (data_folder() / Path(wanted).expanduser())
    if not guarded:
        return ModelPaths(store)
    named = [data_folder() / Path(folder).expanduser() for folder in settings.models.folders]
    model = settings.model.id
    own = [Path(os.path.abspath(os.path.expanduser(model)))] if is_path(model) else []
    return ModelPaths(store, (*named, *own))


def model_paths_of_values(configs: Path, values: Mapping[str, object]) -> ModelPaths:
    """For the worker, which has the settings' values."""
    return places_of(Settings(values=values, origins={}, configs=configs), guarded=False)


def default_places(configs: Path) -> ModelPaths:
    """Of a program that has no settings of its own, such as the benchmark."""
    return places_of(load_settings(configs, os.environ), guarded=False)


def is_path(model: str) -> bool:
    """Whether this is meant as a path, and not as an id of the catalogue."""
    return "/" in model or "\\" in model or os.path.exists(model)


def hugging_face_cache() -> Path:
    """Where Hugging Face's own tools keep what they fetched."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def modelscope_caches() -> tuple[Path, ...]:
    """The same of ModelScope's, by its newer and its older layout."""
    root = Path(os.environ.get("MODELSCOPE_CACHE") or Path.home() / ".cache" / "modelscope" / "hub")
    return (root / "models", root)


def in_hugging_face_cache(repository: str, revision: str | None) -> Path | None:
    """The folder of a repository that the cache holds: at the pinned revision, else as it was last fetched. No network."""
    kept = hugging_face_cache() / f"models--{repository.replace('/', '--')}"
    named = kept / "refs" / "main"
    latest = named.read_text(encoding="utf-8").strip() if named.is_file() else None
    for wanted in (revision, latest):
        if wanted and (kept / "snapshots" / wanted).is_dir():
            return kept / "snapshots" / wanted
    return None


def in_modelscope_cache(repository: str) -> Path | None:
    """The folder of a repository in ModelScope's cache; its tools write a dot of the name as three underlines."""
    owner, _, name = repository.partition("/")
    for root in modelscope_caches():
        for written in dict.fromkeys((name.replace(".", "___"), name)):
            if any((root / owner / written).glob("*.*")):
                return root / owner / written
    return None


def store_folder(store: Path, model: str) -> Path:
    """Where the studio's own download of a catalogue entry lies once it is whole."""
    return store / model


def size_of(folder: Path) -> int:
    """Bytes on disk of all that is in a folder, a file that two names lead to counted once."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            stat = path.stat()
            found[(stat.st_dev, stat.st_ino)] = stat.st_size
    return sum(found.values())
