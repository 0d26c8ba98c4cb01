"""Locate models: the studio's own folder, the caches of Hugging Face and ModelScope, and what the user allows besides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.config.loader import PROJECT_ROOT, Settings, data_folder, load_settings
from core.config.schema import AUTO

EMBEDDED = PROJECT_ROOT / "core" / "demo" / "weights"
STORE = "models"  # in the output folder
PREVIEWS = "previews"  # in the folder of models: fitted maps, and folders of tiny decoders


@dataclass(frozen=True)
class ModelPaths:
    """Where models may be. `store` is the download folder; `extra` are allowed folders (None: every path).

    `folders` are those that the user has named: models and parts are looked for in them.
    """

    store: Path
    extra: tuple[Path, ...] | None = None
    folders: tuple[Path, ...] = ()

    def allowed(self) -> tuple[Path, ...] | None:
        """Return the folders in which a model may be, or None when any may be used."""
        if self.extra is None:
            return None
        return (EMBEDDED, self.store, hugging_face_cache(), *modelscope_caches(), *self.extra)


def places_of(settings: Settings, guarded: bool = True) -> ModelPaths:
    """Return the paths of the settings. A path that the settings name as the model is allowed.

    Not `guarded` where requests arrive that have been let in already: the worker runs what is in the queue.
    """
    wanted = settings.models.store
    store = settings.output_directory / STORE if wanted == AUTO else (data_folder() / Path(wanted).expanduser())
    named = [data_folder() / Path(folder).expanduser() for folder in settings.models.folders]
    if not guarded:
        return ModelPaths(store, folders=tuple(named))
    model = settings.model.id
    own = [Path(os.path.abspath(os.path.expanduser(model)))] if is_path(model) else []
    return ModelPaths(store, (*named, *own), tuple(named))


def model_paths_of_values(configs: Path, values: Mapping[str, object]) -> ModelPaths:
    """Return the paths of settings values, for the worker."""
    return places_of(Settings(values=values, origins={}, configs=configs), guarded=False)


def default_places(configs: Path) -> ModelPaths:
    """Return the paths of a program without settings, such as the benchmark."""
    return places_of(load_settings(configs, os.environ), guarded=False)


def is_path(model: str) -> bool:
    """Return True if `model` is meant as a path and not as a catalogue id."""
    return "/" in model or "\\" in model or os.path.exists(model)


def hugging_face_cache() -> Path:
    """Return the folder of Hugging Face's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def modelscope_caches() -> tuple[Path, ...]:
    """Return where ModelScope's tools keep what they fetched, in its newer and its older layouts."""
    root = Path(os.environ.get("MODELSCOPE_CACHE") or Path.home() / ".cache" / "modelscope" / "hub")
    return (root / "models", root, root / "hub" / "models", root / "hub")


def in_hugging_face_cache(repository: str, revision: str | None) -> list[Path]:
    """Return the folders of a repository that the cache holds: the pinned revision, what `main` names, then the newest first.

    A revision may be there in part only, and a repository that was fetched by its commit has no refs. No network.
    """
    return _snapshots(hugging_face_cache() / f"models--{repository.replace('/', '--')}", revision)


def _snapshots(kept: Path, revision: str | None) -> list[Path]:
    if not kept.is_dir():  # as of most models: one look instead of four
        return []
    names = [revision] if revision else []
    for ref in (kept / "refs" / "main", kept / "refs" / "master"):
        with suppress(OSError, UnicodeDecodeError):
            names.append(ref.read_text(encoding="utf-8").strip())
    folders = [folder for folder in (kept / "snapshots").glob("*") if folder.is_dir()]
    newest = sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)
    wanted = [kept / "snapshots" / name for name in names if name and Path(name).name == name]
    return list(dict.fromkeys(folder for folder in (*wanted, *newest) if folder.is_dir()))


def in_modelscope_cache(repository: str, revision: str | None = None) -> list[Path]:
    """Return the folders of a repository in ModelScope's caches.

    Before 1.38 they are OWNER/NAME, a dot of the name written as three underlines; since then OWNER--NAME/snapshots/REVISION.
    """
    owner, _, name = repository.partition("/")
    found: list[Path] = []
    for root in filter(Path.is_dir, modelscope_caches()):
        for written in dict.fromkeys((name.replace(".", "___"), name)):
            for start in ("", "models--"):
                found += _snapshots(root / f"{start}{owner}--{written}", revision)
            if any((root / owner / written).glob("*.*")):
                found.append(root / owner / written)
    return list(dict.fromkeys(found))


def store_folder(store: Path, model: str) -> Path:
    """Return the folder of a finished download of a catalogue entry."""
    return store / model


PREVIEWS = "previews"  # in the folder of models: fitted maps, and folders of tiny decoders
PREVIEW_MAP = "preview.safetensors"  # beside the weights of a model that has its own map for previews
TINY_DECODER = "tiny_decoder"  # a folder beside the weights of a model that has its own
_PUBLISHER = "madebyollin"  # of the tiny decoders on Hugging Face


def tiny_decoder_folder(store: Path, name: str) -> Path | None:
    """Return where a tiny decoder lies: in the models folder, put there or downloaded, or in Hugging Face's cache."""
    cached = in_hugging_face_cache(f"{_PUBLISHER}/{name}", None)
    places = (store / PREVIEWS / name, store_folder(store, name), *cached)
    return next((one for one in places if (one / "config.json").is_file() and any(one.glob("*.safetensors"))), None)


def size_of(folder: Path) -> int:
    """Return the bytes on disk of a folder; hard links are counted once."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            stat = path.stat()
            found[(stat.st_dev, stat.st_ino)] = stat.st_size
    return sum(found.values())
