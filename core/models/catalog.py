"""List the models: one YAML file each in `configs/models/`, or a folder or single file by its path."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from core.config.cfg import CFG, GUIDANCE
from core.config.loader import PROJECT_ROOT
from core.config.options import SCHEMA
from core.errors import InputError, ModelError, NotWritableError, UnknownModelError
from core.i18n import localize
from core.models.entries import OWN, Entry, read_entries
from core.models.families import DEFAULT, FAMILIES
from core.models.families.base import Family, Single, read_config
from core.models.fingerprint import fingerprint, gguf_hash, part_hashes, versions, weight_hashes
from core.models.model_folders import find_part, models_in
from core.models.model_paths import (
    EMBEDDED,
    ModelPaths,
    default_places,
    in_hugging_face_cache,
    in_modelscope_cache,
    is_path,
    size_of,
    store_folder,
)
from core.models.part_sources import Files, Parts, check_part, check_sources, count_parameters, files_of, stored_bytes
from core.models.single_file import (
    SHIPPED_FRAMES,
    check_whole,
    fits_base,
    fits_frame,
    itself,
    lacking,
    look_into,
    pipeline_with,
)
from core.models.validation import check_place, problem
from core.models.weight_files import folder_state
from core.types import CFG_OFF, ModelInfo, cfg_of


@dataclass
class _Seen:
    """What was looked up within a block that remembers: single models, and the list of all once that was asked for."""

    by_id: dict[str, ModelInfo] = field(default_factory=dict)
    all: Sequence[ModelInfo] | None = None


class Catalog:
    """The entries of `<configs>/models/*.yaml`. Files are read at each call."""

    def __init__(self, configs: Path, places: ModelPaths | None = None) -> None:
        self._configs = configs
        self._places = places or default_places(configs)
        self._seen: ContextVar[_Seen | None] = ContextVar("seen", default=None)
        self._folders: dict[str, tuple[object, ModelInfo]] = {}  # by id: what it was made of, and what was found

    @property
    def places(self) -> ModelPaths:
        """Return where models are searched."""
        return self._places

    def models(self) -> Sequence[ModelInfo]:
        """Return all entries, the embedded model first, the user's own last."""
        seen = self._seen.get()
        if seen is not None and seen.all is not None:
            return seen.all
        entries = self._entries()
        infos = [self._info(entry, entries) for entry in entries.values() if not entry.part]
        infos.sort(key=lambda info: (info.id != "demo", info.own))
        if seen is not None:
            seen.all = tuple(infos)
            seen.by_id.update({info.id: info for info in infos})
        return infos

    def ids(self) -> Sequence[str]:
        """Return the ids of all entries, without a look at their files."""
        return [entry.id for entry in self._entries().values() if not entry.part]

    def problems(self) -> Sequence[InputError]:
        """Return the errors of unusable catalogue files."""
        return read_entries(self._configs / "models")[1]

    def find(self, model: str) -> ModelInfo:
        """Return the entry of an id, or the model at a path. Raises UnknownModelError."""
        seen = self._seen.get()
        if seen is None:
            return self._find(model)
        if model not in seen.by_id:
            seen.by_id[model] = self._find(model)
        return seen.by_id[model]

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Look up each model once within the block: to check a request, or to show a page, takes several looks at the same one."""
        token = self._seen.set(_Seen())
        try:
            yield
        finally:
            self._seen.reset(token)

    def _find(self, model: str) -> ModelInfo:
        # Only the wanted entry's folder is looked at: this runs each time a page is rendered.
        entries = self._entries()
        if model in entries:
            return self._info(entries[model], entries)
        if not is_path(model):
            raise UnknownModelError(value=model, known=", ".join(entries))
        path = os.path.abspath(os.path.expanduser(model))  # the worker that will load it stands elsewhere
        name = {"en": Path(path).name, "zh": Path(path).name}
        return self._info(Entry(id=path, name=name, description={"en": "", "zh": ""}, path=path), entries)

    def add(self, path: str, model: str | None = None) -> ModelInfo:
        """Write an entry for a folder or file of this machine; ModelFileError when it can't be used, and nothing is written.

        Whoever may write the catalogue's files may also allow a folder by that: the entry is the permission.
        """
        target = Path(os.path.abspath(os.path.expanduser(path)))
        entries = self._entries()
        name = model or _free_id(target.stem if target.is_file() else target.name, entries)
        entry = Entry(id=name, name={"en": target.stem, "zh": target.stem}, description={"en": "", "zh": ""}, path=str(target),
                      own=True)  # fmt: skip
        info = self._info(entry, entries)
        if info.problem is not None:
            raise info.problem
        file = self._configs / "models" / f"{name}{OWN}"
        words = {"id": name, "name": target.stem, "path": str(target)}
        try:
            file.write_text(yaml.safe_dump(words, allow_unicode=True, sort_keys=False), encoding="utf-8")
        except OSError as error:
            raise NotWritableError(path=file) from error
        return info

    def forget(self, model: str) -> bool:
        """Remove the user's own entry; the files of the model stay. False when the user has no such entry."""
        file = self._configs / "models" / f"{model}{OWN}"
        entry = self._entries().get(model)
        if entry is None or not entry.own or not file.is_file():
            return False
        file.unlink()
        return True

    # -- one entry -------------------------------------------------------------------------------------------------

    def _entries(self) -> dict[str, Entry]:
        """Return those of the YAML files, then what lies in the folders that the user has named."""
        entries = {entry.id: entry for entry in read_entries(self._configs / "models")[0]}
        known = {str(PROJECT_ROOT / entry.path) for entry in entries.values() if entry.path}
        for root in self._places.folders:
            for path in models_in(root):
                if str(path) not in known and not any(part.path == str(path) for part in entries.values()):
                    name = {"en": path.stem, "zh": path.stem}
                    free = _free_id(path.stem if path.is_file() else path.name, entries)
                    entries[free] = Entry(id=free, name=name, description={"en": "", "zh": ""}, path=str(path))
        return entries

    def _info(self, entry: Entry, entries: Mapping[str, Entry]) -> ModelInfo:
        """Looked up on disk and checked; what is wrong stands in `problem`. The download counts the parts that are missing."""
        info = self._looked_up(entry, entries)
        if info.download_bytes is None or not info.part_ids:
            return info
        missing = [entries[name] for name in info.part_ids if name in entries and self._found(entries[name])[0] is None]
        return replace(info, download_bytes=info.download_bytes + sum(part.download_bytes or 0 for part in missing))

    def _looked_up(self, entry: Entry, entries: Mapping[str, Entry]) -> ModelInfo:
        path, place = self._found(entry)
        made_of = _made_of(entry, path, place)
        known = self._folders.get(entry.id)
        if made_of is not None and known is not None and known[0] == made_of:
            return known[1]
        info = self._checked(entry, path, place, entries)
        if made_of is not None and info.problem is None and info.base is None and info.frame is None:
            self._folders[entry.id] = made_of, info
        return info

    def _checked(self, entry: Entry, path: Path | None, place: str, entries: Mapping[str, Entry]) -> ModelInfo:
        files, single = None, None
        try:
            self._check_place(entry, path, place)
            if path is None:
                raise problem(entry.id, "*.safetensors", "download")
            if entry.part:
                check_part(path, entry.part)
                return self._described(entry, place, path, None, None, None)
            single = check_whole(path, entry.id, tuple(entry.parts))
            files = (
                self._rest(entry, path, single, entries) if single else (path, None, None, self._parts(entry, entries))
            )
            check_sources(entry.id, *files)
        except ModelError as error:
            return self._described(entry, place, path, files if path else None, error, single)
        return self._described(entry, place, path, files, None, single)

    def _check_place(self, entry: Entry, path: Path | None, place: str) -> None:
        """Check that a path of a request lies in an allowed folder; one that the catalogue names is allowed by that."""
        allowed = self._places.allowed()
        if path is not None and place == "path" and entry.id == entry.path and allowed is not None:
            check_place(path, allowed, entry.id)

    def _found(self, entry: Entry) -> tuple[Path | None, str]:
        """Return where it lies: its own path, the studio's store, the caches; a whole one before a broken one."""
        if entry.path is not None:
            path = itself(PROJECT_ROOT / entry.path)
            return path, "shipped" if path == EMBEDDED else "path"
        candidates = [(store_folder(self._places.store, entry.id), "store")]
        if (hub := entry.sources.get("huggingface")) is not None:
            candidates += [(path, "huggingface") for path in in_hugging_face_cache(hub.repository, hub.revision)]
        if (hub := entry.sources.get("modelscope")) is not None:
            candidates += [(path, "modelscope") for path in in_modelscope_cache(hub.repository, hub.revision)]
        there = [(itself(path, entry.file), place) for path, place in candidates if path.is_dir()]
        whole = (pair for pair in there if _passes(pair[0], entry.id))
        return next(whole, there[0] if there else (None, ""))

    def _parts(self, entry: Entry, entries: Mapping[str, Entry]) -> Parts:
        """Return the files and folders of single parts: of other entries, or as the entry names them."""
        found = []
        for part, written in entry.parts.items():
            other = entries.get(written)
            path = self._found(other)[0] if other is not None else PROJECT_ROOT / Path(written).expanduser()
            if path is None:
                label = FAMILIES[entry.pipeline].label if entry.pipeline else entry.id
                raise problem(entry.id, written, "parts", parts=part, family=label, needs=written)
            found.append((part, path))
        return tuple(found)

    def _rest(self, entry: Entry, path: Path, single: Single, entries: Mapping[str, Entry]) -> Files:
        """Return all files: with the entry's own `base`, else the first that fits; a whole model has a frame alone."""
        parts = self._parts(entry, entries)
        if single.whole:
            held = (*single.parts, *(part for part, _ in parts))
            return path, None, self._frame(entry, path, single, held, entries), parts
        for other, place in self._others(entry, entries):
            if place.is_dir() and fits_base(place, single) and _passes(place, other.id):
                return path, place, None, parts
            frame = self._frame_of(other, place, entries) if place.is_file() else None
            if frame is not None and fits_base(place, single, frame):
                return path, place, frame, parts
        frame = FAMILIES[single.pipeline].frame
        if frame is not None and not entry.base and fits_base(frame, single):
            return path, None, frame, self._found_parts(entry, path, single, parts, entries)
        plain = FAMILIES[single.pipeline].plain or single.pipeline
        likely = [
            other.id for other in entries.values() if other.pipeline == plain and other.sources and not other.file
        ]
        raise problem(entry.id, path.name, "base", needs=entry.base or ", ".join(likely) or plain)

    def _found_parts(
        self, entry: Entry, path: Path, single: Single, parts: Parts, entries: Mapping[str, Entry]
    ) -> Parts:
        """Return the parts that a transformer lacks, from the folders of parts on this machine."""
        family, found = FAMILIES[single.pipeline], dict(parts)
        for part in lacking(single.pipeline, (*single.parts, *found)):
            place = find_part(part, path, self._places, family)
            if place is not None:
                found[part] = place
        lacks = lacking(single.pipeline, (*single.parts, *found))
        if lacks:
            same = (other for other in entries.values() if other.pipeline == single.pipeline and not other.file)
            needs = ", ".join(other.id for other in same if other.sources) or single.pipeline
            raise problem(entry.id, path.name, "parts", parts=", ".join(lacks), family=family.label, needs=needs)
        return tuple(found.items())

    def _others(self, entry: Entry, entries: Mapping[str, Entry]) -> Iterator[tuple[Entry, Path]]:
        """Yield the entries that may give what this one lacks, and where they lie."""
        for name in [entry.base] if entry.base else entries:
            other = entries.get(name)
            if other is not None and other.part:
                continue
            path = self._found(other)[0] if other is not None and other.id != entry.id else None
            if other is not None and path is not None:
                yield other, path

    def _frame(
        self, entry: Entry, path: Path, single: Single, held: Sequence[str], entries: Mapping[str, Entry]
    ) -> Path:
        """Return the frame of a checkpoint: the folder of its `base`, else one that is shipped, else the first that fits."""
        shipped = () if entry.base else SHIPPED_FRAMES
        for folder in (*shipped, *(place for _, place in self._others(entry, entries))):
            if folder.is_dir() and fits_frame(folder, single.pipeline, held, single.shape):
                return folder
        lacks = ", ".join(lacking(single.pipeline, held))
        if not lacks:
            raise problem(entry.id, path.name, "frame", kind=FAMILIES[single.pipeline].label)
        likely = [
            other.id
            for other in entries.values()
            if other.pipeline == single.pipeline and other.sources and not other.file
        ]
        raise problem(
            entry.id, path.name, "lacks", parts=lacks, needs=entry.base or ", ".join(likely) or single.pipeline
        )

    def _frame_of(self, other: Entry, path: Path, entries: Mapping[str, Entry]) -> Path | None:
        """Return the frame of another entry, where that is a checkpoint that can be used."""
        try:
            single = look_into(path, other.id)
            return self._frame(other, path, single, single.parts, entries) if single.whole else None
        except ModelError:
            return None

    def _described(
        self,
        entry: Entry,
        place: str,
        path: Path | None,
        files: Files | None,
        error: ModelError | None,
        single: Single | None,
    ) -> ModelInfo:
        base, frame, parts = files[1:] if files else (None, None, ())
        folder = frame or base or path
        family = FAMILIES[pipeline_with(single, base)] if single else _family(entry, folder)
        memory = entry.memory_bytes or entry.download_bytes
        if files is not None and error is None:
            memory = memory_bytes(files)
        defaults = {**folder_defaults(family, folder), **entry.defaults}
        return ModelInfo(
            id=entry.id,
            name=entry.name,
            description=entry.description,
            path=str(path) if path else None,
            default_width=int(defaults["width"]),
            default_height=int(defaults["height"]),
            default_steps=int(defaults["num_inference_steps"]),
            default_cfg_scale=default_cfg(defaults, family),
            size_multiple=family.size_multiple,
            max_side=entry.max_side or family.max_side(folder),
            problem=error,
            pipeline=family.pipeline,
            base=str(base) if base else None,
            frame=str(frame) if frame else None,
            place=place,
            sources={hub: source.repository for hub, source in entry.sources.items()},
            revisions={hub: source.revision for hub, source in entry.sources.items() if source.revision},
            licence=entry.licence,
            disk_bytes=disk_bytes(path),
            download_bytes=entry.download_bytes,
            memory_bytes=memory,
            bounds=cfg_bounds(entry.limits, family),
            cannot=cannot(family, entry.negative_prompt),
            own=entry.own,
            variant_of=entry.variant_of,
            cfg_offset=family.cfg_offset,
            file=entry.file,
            base_id=entry.base or "",
            parts={part: str(place) for part, place in parts},
            part=entry.part,
            part_ids=tuple(written for written in entry.parts.values() if not is_path(written)),
            inputs=family.inputs,
            trained_side=entry.trained_side or int(max(defaults["width"], defaults["height"])),
            width=family.model_width(folder),
            lora_kind=family.lora.kind,
        )

    def conditions(self, model: str) -> dict[str, Any]:
        """Return what decides the pixels of this model (library versions, fingerprint), without loading it."""
        found: dict[str, Any] = {f"versions.{name}": number for name, number in versions().items()}
        info = self.find(model)
        if info.path is None:
            return found
        files = files_of(info)
        try:
            hashes = {"model.files": part_hashes(*files), "model.weights": weight_hashes(*files) | gguf_hash(*files[:2])}
        except (ModelError, OSError):  # files that are not whole: the run says so
            hashes = {}
        return {**found, "model.fingerprint": fingerprint(*files), **hashes}


def _free_id(name: str, taken: Mapping[str, Entry]) -> str:
    """Return an id made of a file's name."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:48] or "model"
    if plain not in taken:
        return plain
    return next(one for k in count(2) if (one := f"{plain}-{k}") not in taken)


def _made_of(entry: Entry, path: Path | None, place: str) -> object:
    """Return what decides all that is found of an entry whose parts lie in folders that it names; None for others."""
    if path is None:
        return None
    folders = [path, *(PROJECT_ROOT / Path(written).expanduser() for written in entry.parts.values())]
    if not all(folder.is_dir() for folder in folders):
        return None
    try:
        return entry, path, place, tuple(folder_state(folder) for folder in folders)
    except OSError:
        return None


def _passes(path: Path, model: str) -> bool:
    try:
        check_whole(path, model)
    except ModelError:
        return False
    return True


def _family(entry: Entry, folder: Path | None) -> Family:
    """Return what the entry says, else what the folder says, else the studio's own kind."""
    named = entry.pipeline or (read_config(folder / "model_index.json").get("_class_name") if folder else None)
    return FAMILIES.get(str(named), DEFAULT)


def cannot(family: Family, negative_prompt: bool) -> dict[str, Mapping[str, str]]:
    """Return the options without effect on this model, each with its reason."""
    found = {key: family.cannot[start] for key, start in _beginning_with(tuple(family.cannot))}
    if not family.tiny_decoder:
        found["vae.decoder"] = _NO_TINY
    if not negative_prompt:
        found["generation.negative_prompt"] = _NO_NEGATIVE
    return found


@cache
def _beginning_with(starts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the option keys that begin with one of these, each with that start."""
    return tuple((key, start) for key in SCHEMA.options for start in starts if key.startswith(start))


_NO_NEGATIVE = localize("models.catalog.no_negative")
_NO_TINY = localize("models.catalog.no_tiny_decoder")


def folder_defaults(family: Family, folder: Path | None) -> dict[str, float]:
    """Return the family's steps and CFG scale, at the size that the model in `folder` was made for."""
    side = family.native_side(folder)
    return {"width": side, "height": side, "num_inference_steps": family.steps, "cfg_scale": family.cfg_scale}


def default_cfg(defaults: Mapping[str, float], family: Family) -> float:
    """Return the default CFG scale; an entry may give it as the `guidance_scale` of its family's pipeline instead."""
    if "guidance_scale" in defaults:
        return cfg_of(defaults["guidance_scale"], family.cfg_offset)
    return max(CFG_OFF, float(defaults["cfg_scale"]))


def cfg_bounds(limits: Mapping[str, tuple[float, float]], family: Family) -> dict[str, tuple[float, float]]:
    """Return an entry's limits by option key, those of `guidance_scale` as limits of the CFG scale."""
    found = dict(limits)
    if GUIDANCE in found:
        low, high = found.pop(GUIDANCE)
        found[CFG] = (cfg_of(low, family.cfg_offset), cfg_of(high, family.cfg_offset))
    return found


def disk_bytes(path: Path | None) -> int:
    """Return the bytes of a file or folder; 0 if it does not exist."""
    if path is None or not os.path.exists(path):
        return 0
    return path.stat().st_size if path.is_file() else size_of(path)


def memory_bytes(files: Files) -> int:
    """Return the bytes of all weights as they are held: in 16 bits, but what is quantised in a GGUF file as it is stored."""
    kept = stored_bytes(*files)
    return sum(kept.values()) + sum(2 * count for part, count in count_parameters(*files).items() if part not in kept)
