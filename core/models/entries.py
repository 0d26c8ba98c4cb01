"""Read the YAML files of the catalogue: one model each, checked key by key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from core.config.loader import load_yaml
from core.config.options import SCHEMA
from core.errors import ConfigFileError, InputError, OptionError, UnknownOptionError
from core.i18n import localize
from core.models.families import FAMILIES
from core.models.weight_files import file_state

HUBS = ("huggingface", "modelscope")
OWN = ".local.yaml"  # how the files end that the studio writes for the user; updates leave them alone
DEFAULTS = ("width", "height", "num_inference_steps", "cfg_scale", "guidance_scale")
LIMITED = ("num_inference_steps", "cfg_scale", "guidance_scale")
KEYS = (
    "id", "name", "description", "pipeline", "path", "base", *HUBS, "licence", "download_gb", "memory_gb", "defaults", "limits",
    "negative_prompt", "max_side", "trained_side", "file", "parts", "part", "variant_of",
)  # fmt: skip
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE = re.compile(r"([\w.-]+/)*[A-Za-z0-9_][\w.-]*\.(safetensors|gguf)")
_REVISION = re.compile(r"[\w.-]{1,64}")


@dataclass(frozen=True)
class Source:
    """A repository of a hub and its revision, pinned where known."""

    repository: str
    revision: str | None = None


@dataclass(frozen=True)
class Entry:
    """One file of the catalogue. `path`: a folder or a single file; `base`: the id whose other parts a single file or a
    ControlNet uses; `file`: the one file of the repository that is wanted, where it is no folder of a pipeline."""

    id: str
    name: Mapping[str, str]
    description: Mapping[str, str]
    pipeline: str | None = None
    path: str | None = None
    base: str | None = None
    file: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)  # part -> the id of an entry that is one, a file or a folder
    part: str = ""  # this entry is no model, but a part of others
    sources: Mapping[str, Source] = field(default_factory=dict)
    licence: str = ""
    download_bytes: int | None = None
    memory_bytes: int | None = None  # of all weights in 16 bits, for as long as there are no files to look at
    defaults: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    negative_prompt: bool = True
    max_side: int | None = None
    trained_side: int | None = None
    variant_of: str = ""  # the id of the model that this is in other precision or by another publisher
    own: bool = False


def read_entries(folder: Path) -> tuple[list[Entry], list[InputError]]:
    """Return all entries, and the errors of unusable files. A repeated id is an error of the later file."""
    found: dict[str, Entry] = {}
    problems: list[InputError] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            entry = _read_again(path)
            if entry.id in found:
                raise _wrong(path, "id", entry.id, localize("models.entries.an_id_that_no_other_file"))
            found[entry.id] = entry
        except InputError as problem:
            problems.append(problem)
    return sorted(found.values(), key=lambda entry: entry.id), problems


def _read_again(path: Path) -> Entry:
    """As `read_entry`, from memory while the file stays as it is: pages ask for all entries each time they are rendered."""
    try:
        unchanged = file_state(path)
    except OSError:
        return read_entry(path)  # which says so
    return _remembered(path, unchanged)


@lru_cache(maxsize=1000)
def _remembered(path: Path, _unchanged: tuple[int, int]) -> Entry:
    return read_entry(path)


def read_entry(path: Path) -> Entry:
    """Read one file. Raises InputError with file, key, value and allowed values."""
    source = f"{path.parent.name}/{path.name}"
    try:
        data = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigFileError(source=source, detail=" ".join(str(error).split())[:200]) from None
    if not isinstance(data, dict):
        raise ConfigFileError(source=source, detail="it is not a mapping")
    for key in data:
        if key not in KEYS:
            raise UnknownOptionError(source=source, key=key, nearest=", ".join(KEYS))
    return _entry(path, data)


def _entry(path: Path, data: Mapping[str, Any]) -> Entry:
    model = data.get("id")
    if not isinstance(model, str) or not _ID.fullmatch(model):
        raise _wrong(path, "id", model, "a-z 0-9 . _ -")
    pipeline = data.get("pipeline")
    if pipeline is not None and pipeline not in FAMILIES:
        raise _wrong(path, "pipeline", pipeline, ", ".join(FAMILIES))
    sources = {hub: _source(path, hub, data[hub]) for hub in HUBS if data.get(hub)}
    if not (sources or data.get("path")):
        raise _wrong(path, "path", None, localize("models.entries.path_huggingface_or_modelscope"))
    return Entry(
        id=model,
        name=_bilingual(path, "name", data.get("name") or model),
        description=_bilingual(path, "description", data.get("description") or ""),
        pipeline=pipeline,
        path=str(data["path"]) if data.get("path") else None,
        base=str(data["base"]) if data.get("base") else None,
        file=_file(path, data.get("file") or ""),
        parts=_parts(path, data.get("parts") or {}),
        part=_part(path, data.get("part") or ""),
        variant_of=_variant_of(path, data.get("variant_of") or ""),
        sources=sources,
        licence=str(data.get("licence") or ""),
        download_bytes=_gigabytes(path, "download_gb", data),
        memory_bytes=_gigabytes(path, "memory_gb", data),
        defaults=_defaults(path, data.get("defaults") or {}),
        limits=_limits(path, data.get("limits") or {}),
        negative_prompt=data.get("negative_prompt") is not False,
        max_side=_side(path, "max_side", data),
        trained_side=_side(path, "trained_side", data),
        own=path.name.endswith(OWN),
    )


def _wrong(path: Path, key: str, value: object, allowed: str | Mapping[str, str]) -> OptionError:
    return OptionError(source=f"{path.parent.name}/{path.name}", key=key, value=str(value), allowed=allowed)


def _bilingual(path: Path, key: str, words: object) -> Mapping[str, str]:
    if isinstance(words, str):
        return {"en": words, "zh": words}
    if isinstance(words, dict) and set(words) == {"en", "zh"}:
        return {language: str(text) for language, text in words.items()}
    raise _wrong(path, key, words, "en, zh")


def _gigabytes(path: Path, key: str, data: Mapping[str, Any]) -> int | None:
    size = data.get(key)
    if size is not None and not (isinstance(size, int | float) and 0 < size < 10_000):
        raise _wrong(path, key, size, "0 - 10000")
    return int(size * 1e9) if size else None


def _side(path: Path, key: str, data: Mapping[str, Any]) -> int | None:
    side = data.get(key)
    if side is not None and not (isinstance(side, int) and 64 <= side <= 8192):
        raise _wrong(path, key, side, "64 - 8192")
    return side


def _source(path: Path, hub: str, written: object) -> Source:
    """`owner/name`, or a mapping of `id` and `revision`."""
    entry = written if isinstance(written, dict) else {"id": written}
    repository, revision = str(entry.get("id")), entry.get("revision")
    if not _REPOSITORY.fullmatch(repository):
        raise _wrong(path, hub, written, "owner/name")
    if revision is not None and not _REVISION.fullmatch(str(revision)):
        raise _wrong(path, f"{hub}.revision", revision, localize("models.entries.a_commit_branch_or_tag"))
    return Source(repository, str(revision) if revision is not None else None)


def _file(path: Path, written: object) -> str:
    """Return a plain name of a weight file, or ""."""
    if written and not _FILE.fullmatch(str(written)):
        raise _wrong(path, "file", written, localize("models.entries.the_name_of_a_safetensors_file"))
    return str(written)


PREVIEW = "preview"  # an AutoencoderTiny, which decodes previews: no model needs it
PARTS = ("transformer", "unet", "text_encoder", "text_encoder_2", "vae")


def _parts(path: Path, written: object) -> dict[str, str]:
    """Return paths of single parts, by part."""
    if not isinstance(written, dict) or any(
        part not in PARTS or not isinstance(place, str) for part, place in written.items()
    ):
        raise _wrong(
            path,
            "parts",
            written,
            localize("models.entries.a_path_for_any_of", parts=", ".join(PARTS), parts_2="、".join(PARTS)),
        )
    return {str(part): place for part, place in written.items()}


def _variant_of(path: Path, written: object) -> str:
    if written and not (isinstance(written, str) and _ID.fullmatch(written)):
        raise _wrong(path, "variant_of", written, "a-z 0-9 . _ -")
    return str(written)


def _part(path: Path, written: object) -> str:
    if written and written not in (*PARTS, PREVIEW):
        raise _wrong(path, "part", written, ", ".join((*PARTS, PREVIEW)))
    return str(written)


def _defaults(path: Path, written: Mapping[str, Any]) -> dict[str, float]:
    source = f"{path.parent.name}/{path.name}"
    for key in written:
        if key not in DEFAULTS:
            raise UnknownOptionError(source=source, key=f"defaults.{key}", nearest=", ".join(DEFAULTS))
    _one_cfg(path, "defaults", written)
    return {key: SCHEMA.options[f"generation.{key}"].check(value, source) for key, value in written.items()}


def _one_cfg(path: Path, part: str, written: Mapping[str, Any]) -> None:
    """Raise OptionError when both names of the CFG scale are given."""
    if {"cfg_scale", "guidance_scale"} <= set(written):
        allowed = localize("models.entries.cfg_scale_or_guidance_scale_not")
        raise _wrong(path, f"{part}.guidance_scale", written["guidance_scale"], allowed)


def _limits(path: Path, written: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return bounds that are narrower than the option's own."""
    found = {}
    _one_cfg(path, "limits", written)
    for key, bounds in written.items():
        if key not in LIMITED:
            raise UnknownOptionError(
                source=f"{path.parent.name}/{path.name}",
                key=f"limits.{key}",
                nearest=", ".join(LIMITED),
            )
        if not (
            isinstance(bounds, Sequence) and len(bounds) == 2 and all(isinstance(end, int | float) for end in bounds)
        ):
            raise _wrong(path, f"limits.{key}", bounds, "[from, to]")
        found[f"generation.{key}"] = (bounds[0], bounds[1])
    return found
