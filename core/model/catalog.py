"""Which models there are: one YAML file each in `configs/models/`, or a folder or single file by its path.

What this module does not know: torch, diffusers, how a model is loaded. The page asks it, so it must stay light.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from core.config.layers import PROJECT_ROOT
from core.config.options import SCHEMA
from core.errors import InputError, ModelError, NotWritableError, UnknownModelError
from core.model.checks import check_place, problem
from core.model.entries import OWN, Entry, read_entries
from core.model.families import FAMILIES, SD, Z_IMAGE, Z_IMAGES, Family
from core.model.formats import GGUF
from core.model.places import (
    EMBEDDED,
    Places,
    default_places,
    in_hugging_face_cache,
    in_modelscope_cache,
    is_path,
    size_of,
    store_folder,
)
from core.model.revision import fingerprint, versions
from core.model.single import Single, check_whole, fits_base, itself, weights_by_part
from core.types import ModelInfo

PATCH = 16  # pixels of a token's side in Z-Image: 8 of the VAE times a patch of 2
POSITIONS_LIMIT = 512  # tokens of a side in the published Z-Image; the fallback when a folder can't be read
U_NET_MAX_SIDE = 2048  # px; a U-Net has no end of positions, but repeats itself long before
SIDES = {SD: 512}  # px of the native square, where a folder does not say otherwise


class Catalog:
    """The entries of `<configs>/models/*.yaml`. Files are read at each call: they are few, and may change under us."""

    def __init__(self, configs: Path, places: Places | None = None) -> None:
        self._configs = configs
        self._places = places or default_places(configs)

    @property
    def places(self) -> Places:
        """Where models are looked for."""
        return self._places

    def models(self) -> Sequence[ModelInfo]:
        """All entries, the embedded model first, the user's own last."""
        entries = self._entries()
        infos = (self._info(entry, entries) for entry in entries.values())
        return sorted(infos, key=lambda info: (info.id != "demo", info.own))

    def problems(self) -> Sequence[InputError]:
        """What is wrong with the files that are no entries."""
        return read_entries(self._configs / "models")[1]

    def find(self, model: str) -> ModelInfo:
        """The entry of that id, or what lies at that path; UnknownModelError when it is neither."""
        # Only the wanted entry's folder is looked at: this runs at each draw of a page.
        entries = self._entries()
        if model in entries:
            return self._info(entries[model], entries)
        if not is_path(model):
            raise UnknownModelError(came=model, known=", ".join(entries))
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
        return {entry.id: entry for entry in read_entries(self._configs / "models")[0]}

    def _info(self, entry: Entry, entries: Mapping[str, Entry]) -> ModelInfo:
        """Looked up on disk and checked; what is wrong stands in `problem`."""
        path, place = self._found(entry)
        base, single = None, None
        try:
            self._check_place(entry, path, place)
            if path is None:
                raise problem(entry.id, "*.safetensors", "download")
            single = check_whole(path, entry.id)
            base = self._base(entry, path, single, entries) if single else None
        except ModelError as error:
            return self._described(entry, path, place, None, error, single)
        return self._described(entry, path, place, base, None, single)

    def _check_place(self, entry: Entry, path: Path | None, place: str) -> None:
        """A path that came with a request must lie in an allowed folder; one that the catalogue names is allowed by that."""
        allowed = self._places.allowed()
        if path is not None and place == "path" and entry.id == entry.path and allowed is not None:
            check_place(path, allowed, entry.id)

    def _found(self, entry: Entry) -> tuple[Path | None, str]:
        """Where it lies: its own path, the studio's store, the caches; a whole one before a broken one."""
        if entry.path is not None:
            path = itself(PROJECT_ROOT / entry.path)
            return path, "shipped" if path == EMBEDDED else "path"
        candidates = [(store_folder(self._places.store, entry.id), "store")]
        if (hub := entry.sources.get("huggingface")) is not None:
            candidates.append((in_hugging_face_cache(hub.repository, hub.revision) or Path(), "huggingface"))
        if (hub := entry.sources.get("modelscope")) is not None:
            candidates.append((in_modelscope_cache(hub.repository) or Path(), "modelscope"))
        there = [(itself(path, entry.file), place) for path, place in candidates if path != Path() and path.is_dir()]
        whole = (pair for pair in there if _passes(pair[0], entry.id))
        return next(whole, there[0] if there else (None, ""))

    def _base(self, entry: Entry, path: Path, single: Single, entries: Mapping[str, Entry]) -> Path:
        """The folder that the other parts come from: the entry's own `base`, else the first that fits."""
        names = [entry.base] if entry.base else list(entries)
        for name in names:
            other = entries.get(name or "")
            folder = self._found(other)[0] if other is not None and other.id != entry.id else None
            if folder is not None and folder.is_dir() and fits_base(folder, single) and _passes(folder, name or ""):
                return folder
        plain = FAMILIES[single.pipeline].plain or single.pipeline
        likely = [other.id for other in entries.values() if other.pipeline == plain and other.sources]
        raise problem(entry.id, path.name, "base", needs=entry.base or ", ".join(likely) or plain)

    def _described(
        self,
        entry: Entry,
        path: Path | None,
        place: str,
        base: Path | None,
        error: ModelError | None,
        single: Single | None,
    ) -> ModelInfo:
        folder = base or path
        family = FAMILIES[single.pipeline] if single else _family(entry, folder)
        defaults = {**_folder_defaults(family, folder), **entry.defaults}
        return ModelInfo(
            id=entry.id,
            name=entry.name,
            description=entry.description,
            path=str(path) if path else None,
            default_width=int(defaults["width"]),
            default_height=int(defaults["height"]),
            default_steps=int(defaults["num_inference_steps"]),
            default_guidance=float(defaults["guidance_scale"]),
            size_multiple=family.size_multiple,
            max_side=entry.max_side or _max_side(family, folder),
            problem=error,
            pipeline=family.pipeline,
            base=str(base) if base else None,
            place=place,
            sources={hub: source.repository for hub, source in entry.sources.items()},
            revisions={hub: source.revision for hub, source in entry.sources.items() if source.revision},
            licence=entry.licence,
            disk_bytes=_disk_bytes(path),
            download_bytes=entry.download_bytes,
            memory_bytes=_memory_bytes(path, base) if error is None else entry.memory_bytes or entry.download_bytes,
            bounds=entry.limits,
            cannot=_cannot(family, entry.negative_prompt),
            own=entry.own,
            file=entry.file,
            base_id=entry.base or "",
            inputs=family.inputs,
            trained_side=entry.trained_side or int(max(defaults["width"], defaults["height"])),
            width=_width(family, folder),
        )

    def conditions(self, model: str) -> dict[str, Any]:
        """What is known, without loading it, of what decides this model's pixels, as pictures' records name it."""
        found: dict[str, Any] = {f"versions.{name}": number for name, number in versions().items()}
        info = self.find(model)
        if info.path is None:
            return found
        return {**found, "model.fingerprint": fingerprint(Path(info.path), Path(info.base) if info.base else None)}


def _free_id(name: str, taken: Mapping[str, Entry]) -> str:
    """An id made of a file's name."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:48] or "model"
    return next(one for one in (plain, *(f"{plain}-{k}" for k in range(2, 1000))) if one not in taken)


def _passes(path: Path, model: str) -> bool:
    try:
        check_whole(path, model)
    except ModelError:
        return False
    return True


def _family(entry: Entry, folder: Path | None) -> Family:
    """What the entry says, else what the folder says, else the studio's own kind."""
    named = entry.pipeline or (_config(folder / "model_index.json").get("_class_name") if folder else None)
    return FAMILIES.get(str(named), FAMILIES[Z_IMAGE])


def _cannot(family: Family, negative_prompt: bool) -> dict[str, Mapping[str, str]]:
    found = {key: reason for key in SCHEMA.options for start, reason in family.cannot.items() if key.startswith(start)}
    if not negative_prompt:
        found["generation.negative_prompt"] = _NO_NEGATIVE
    return found


_NO_NEGATIVE = {"en": "this model does not use a negative prompt", "zh": "此模型不使用反向提示词"}


def _max_side(family: Family, folder: Path | None) -> int:
    """Longest side in pixels. Z-Image: beyond it the table of rotary positions ends (axes_lens, in tokens; text axis first)."""
    if family.pipeline not in Z_IMAGES:
        return U_NET_MAX_SIDE
    config = _config(folder / "transformer" / "config.json") if folder else {}
    lengths: Sequence[int] = config.get("axes_lens", [0, POSITIONS_LIMIT, POSITIONS_LIMIT])
    return min(lengths[1:]) * PATCH


def _width(family: Family, folder: Path | None) -> int | None:
    """Of the transformer's tokens, or of the texts that the U-Net reads; the family's own for a model that is not here."""
    part, key = ("transformer", "dim") if family.pipeline in Z_IMAGES else ("unet", "cross_attention_dim")
    found = _config(folder / part / "config.json").get(key, family.width) if folder else family.width
    return found if isinstance(found, int) else None


def _folder_defaults(family: Family, folder: Path | None) -> dict[str, float]:
    """Steps and guidance of the family, at the size that the VAE or the U-Net was made for."""
    config: Mapping[str, Any] = {}
    if family.pipeline in Z_IMAGES:
        config = _config(folder / "vae" / "config.json") if folder else {}
        side = config.get("sample_size", 1024)
    else:
        config = _config(folder / "unet" / "config.json") if folder else {}
        side = (
            8 * config["sample_size"]
            if isinstance(config.get("sample_size"), int)
            else SIDES.get(family.pipeline, 1024)
        )
    return {"width": side, "height": side, "num_inference_steps": family.steps, "guidance_scale": family.guidance}


def _config(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _disk_bytes(path: Path | None) -> int:
    if path is None or not os.path.exists(path):
        return 0
    return path.stat().st_size if path.is_file() else size_of(path)


def _memory_bytes(path: Path | None, base: Path | None) -> int | None:
    """Of all weights as they are loaded: in 16 bits, but a GGUF file as it is stored."""
    if path is None:
        return None
    total = 0
    for _, file in weights_by_part(path, base):
        size = file.stat().st_size
        total += size if file.suffix == GGUF else size // (2 if _is_float32(file) else 1)
    return total


def _is_float32(file: Path) -> bool:
    """By the first tensor: a file's weights are stored in one format."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        head = opened.read(min(length, 65_536))
    return b'"F32"' in head
