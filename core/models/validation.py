"""Is this folder or file a model that may be loaded? Answered from names, sizes and headers, before any memory is taken."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.errors import ModelFileError
from core.i18n import localize
from core.models.families import FAMILIES
from core.models.families.base import Family
from core.models.weight_files import SAFETENSORS, BadFile, Tensor, is_pickle, read_header

MANIFEST = ".zdarkroom.json"  # what the studio's own download knows of its files
VARIANTS = (
    "bf16",
    "fp16",
    "",
)  # of weights that are stored more than once: 16 bits before 32, which take twice the space


def _either(labels: Iterable[str]) -> dict[str, str]:
    """A list of families in both languages."""
    names = sorted(set(labels))
    return {"en": " or ".join(names), "zh": "、".join(names)}


_WHOLE = _either(family.label for family in FAMILIES.values() if family.checkpoint is not None)
_OTHERS = _either(family.label for family in FAMILIES.values() if family.checkpoint is None and family.plain is None)
_NETWORKS = _either(FAMILIES[family.plain].label for family in FAMILIES.values() if family.plain is not None)
_AGAIN = localize("models.validation.again")
PROBLEMS = {
    "folder": localize("models.validation.problems.folder"),
    "missing": localize("models.validation.problems.missing", again=_AGAIN),
    "json": localize("models.validation.problems.json"),
    "pipeline": localize("models.validation.problems.pipeline", families=", ".join(FAMILIES)),
    "foreign": localize("models.validation.problems.foreign"),
    "truncated": localize("models.validation.problems.truncated"),
    "longer": localize("models.validation.problems.longer"),
    "header": localize("models.validation.problems.header"),
    "gguf": localize("models.validation.problems.gguf"),
    "quantisation": localize("models.validation.problems.quantisation"),
    "pickle": localize("models.validation.problems.pickle"),
    "outside": localize("models.validation.problems.outside"),
    "download": localize("models.validation.problems.download"),
    "kind": localize("models.validation.problems.kind"),
    "tensors": localize("models.validation.problems.tensors", whole=_WHOLE, others=_OTHERS),
    "kin": localize("models.validation.problems.kin", whole=_WHOLE),
    "frame": localize("models.validation.problems.frame"),
    "lacks": localize("models.validation.problems.lacks"),
    "base": localize("models.validation.problems.base"),
    "network": localize("models.validation.problems.network", networks=_NETWORKS),
    "places": localize("models.validation.problems.places"),
}


def problem(model: str, file: str, name: str, **values: str) -> ModelFileError:
    """The error for one of PROBLEMS; `values` fill its braces."""
    words = {language: text.format(**values) if values else text for language, text in PROBLEMS[name].items()}
    return ModelFileError(model=model, file=file, problem=words)


# -- a folder ----------------------------------------------------------------------------------------------------------


def check_folder(folder: Path, model: str) -> None:
    """Raise ModelFileError naming the first file that is missing, unsafe, truncated or unreadable."""
    if not os.path.isdir(folder):  # False, where Path.is_dir raises, for a name that no file system takes
        raise problem(model, str(folder), "folder")
    refuse_pickles(folder, model)
    family = family_of(folder, model)
    for component, part in family.parts.items():
        config = read_json(folder, f"{component}/{part.config}", model)
        if "auto_map" in config:  # transformers' way to name code that comes with the weights
            raise problem(model, f"{component}/{part.config}", "foreign")
    for name in weight_names(folder, model):
        check_weights(folder / name, name, model)


def family_of(folder: Path, model: str) -> Family:
    """What the folder says it is, when each of its classes is one that belongs there; ModelFileError otherwise."""
    index = read_json(folder, "model_index.json", model)
    name = index.get("_class_name")
    family = FAMILIES.get(name) if isinstance(name, str) else None  # a list names a pipeline's own file
    if family is None:
        raise problem(model, "model_index.json", "pipeline")
    for component, named in index.items():
        if component.startswith("_") or component in family.unused or not isinstance(named, list):
            continue
        part = family.parts.get(component)
        if part is None or named[:1] != [part.library] or named[1:] not in [[one] for one in part.classes]:
            raise problem(model, f"model_index.json ({component})", "foreign")
    return family


def refuse_pickles(folder: Path, model: str) -> None:
    """ModelFileError for the first pickle. Of every file, by content: what a library would open is its affair, and changes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_pickle(path):
            raise problem(model, path.relative_to(folder).as_posix(), "pickle")


def read_json(folder: Path, name: str, model: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise problem(model, name, "missing")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError):
        raise problem(model, name, "json") from None
    if not isinstance(data, dict):
        raise problem(model, name, "json")
    return data


# -- which files are the weights ---------------------------------------------------------------------------------------


def weight_names(folder: Path, model: str) -> list[str]:
    """The weight files that are read, relative to the folder; ModelFileError when a part has none."""
    family, variant = family_of(folder, model), variant_of(folder, model)
    return [name for part in family.weighty for name in files_of_part(folder, part, variant, model)]


def variant_of(folder: Path, model: str) -> str:
    """Of the stored variants the first of VARIANTS that every part has: "bf16", "fp16", or "" for files without a mark."""
    family = family_of(folder, model)
    for variant in variants_of(folder, family.weighty):
        return variant
    lacking = next(part for part in family.weighty if not _stored(folder, part, ""))
    raise problem(model, f"{lacking}/*.safetensors", "missing")


def variants_of(folder: Path, parts: Iterable[str]) -> list[str]:
    """Those of VARIANTS that every one of the parts has; the part "" is the folder itself."""
    return [variant for variant in VARIANTS if all(_stored(folder, part, variant) for part in parts)]


def is_variant(name: str, variant: str) -> bool:
    """Whether a weight file's or index's name is of this variant: `model.fp16.safetensors`, `model.fp16-00001-of-00002...`."""
    stem = _plain_index(name).removesuffix(".index.json").removesuffix(SAFETENSORS)
    mark = re.sub(r"-\d+-of-\d+$", "", stem.partition(".")[2])
    return mark == variant  # any other mark, such as non_ema, is of no variant that is read


def _stored(folder: Path, part: str, variant: str) -> list[Path]:
    names = sorted((folder / part).glob(f"*{SAFETENSORS}")) + sorted((folder / part).glob(f"*{SAFETENSORS}.index*"))
    names += sorted((folder / part).glob("*.index.*.json"))
    return [path for path in names if is_variant(path.name, variant)]


def _plain_index(name: str) -> str:
    """diffusers writes `model.safetensors.index.fp16.json` where transformers writes `model.fp16.safetensors.index.json`."""
    head, found, tail = name.partition(f"{SAFETENSORS}.index.")
    mark = tail.removesuffix(".json").removesuffix("json")
    return f"{head}.{mark}{SAFETENSORS}.index.json" if found and mark else name


def files_of_part(folder: Path, part: str, variant: str, model: str) -> list[str]:
    """The shards that the part's index names, or its single file; relative to the folder."""
    stored = _stored(folder, part, variant)
    index = next((path for path in stored if path.suffix == ".json"), None)
    if index is None:
        return [next(path for path in stored if path.suffix == SAFETENSORS).relative_to(folder).as_posix()]
    name = index.relative_to(folder).as_posix()
    shards = read_json(folder, name, model).get("weight_map")
    names = sorted(set(shards.values())) if isinstance(shards, dict) else []
    if not names:
        raise problem(model, name, "json")
    if any(not isinstance(shard, str) or Path(shard).name != shard for shard in names):
        raise problem(model, name, "outside")
    return [(Path(part) / shard).as_posix() for shard in names]


# -- one file ----------------------------------------------------------------------------------------------------------


def check_weights(path: Path, name: str, model: str) -> Mapping[str, Tensor]:
    """The tensors of a weight file; ModelFileError when it is missing, no such file, or not as long as it must be."""
    if not path.is_file():
        raise problem(model, name, "missing")
    try:
        return read_header(path)
    except BadFile as bad:
        raise problem(model, name, bad.kind) from None


# -- where it may lie --------------------------------------------------------------------------------------------------


def check_place(path: Path, allowed: Iterable[Path], model: str) -> None:
    """Raise ModelFileError unless the path, its links followed, lies in one of the allowed folders."""
    real = Path(os.path.realpath(path))
    roots = [Path(os.path.realpath(root)) for root in allowed]
    if not any(real == root or root in real.parents for root in roots):
        raise problem(model, str(path), "outside")
