"""Recognise what is added to another model, or takes the place of its parts: a single file, or a ControlNet's own folder.

The rest comes from a model of the same shape, the base. A whole model in one file has no base, but a frame (see checkpoint.py).
Families tell what their files are (see Family.detect_file). Judged by headers, before any memory is taken.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from core.errors import ModelFileError
from core.models import checkpoint
from core.models.families import FAMILIES
from core.models.families.base import CONTROLNET, Family, Single
from core.models.validation import (
    check_folder,
    check_weights,
    family_of,
    files_of_part,
    problem,
    read_json,
    refuse_pickles,
    variants_of,
    weight_names,
)
from core.models.weight_files import GGUF, SAFETENSORS, read_header, stamp
from core.types import ModelInfo


def is_network(folder: Path) -> bool:
    """Whether this is the folder of a ControlNet alone."""
    if not os.path.isdir(folder) or (folder / "model_index.json").exists():
        return False
    try:
        name = read_json(folder, "config.json", "").get("_class_name")
    except ModelFileError:
        return False
    return any(CONTROLNET in family.parts and name in family.parts[CONTROLNET].classes for family in FAMILIES.values())


def itself(path: Path, wanted: str = "") -> Path:
    """Of a folder that holds no more of a model than a single file, as some repositories are: that file, or the one wanted."""
    if not os.path.isdir(path) or any((path / name).exists() for name in ("model_index.json", "config.json")):
        return path
    files = sorted(path.glob(wanted or f"*{SAFETENSORS}"))
    return files[0] if len(files) == 1 else path


def check_whole(path: Path, model: str) -> Single | None:
    """ModelFileError unless it is a folder with all parts, then None, or something that needs a base: what it is."""
    if os.path.isfile(path) or is_network(
        path
    ):  # unlike Path.is_file, it takes a name that is too long for a missing file
        return look_into(path, model)
    check_folder(path, model)
    return None


def look_into(path: Path, model: str) -> Single:
    """What it is; ModelFileError when it can't be used."""
    if os.path.isdir(path):
        return _network(path, model)
    if path.suffix.lower() not in (SAFETENSORS, GGUF):
        raise problem(model, path.name, "kind")
    if not path.is_file():
        raise problem(model, path.name, "missing")
    return _file(path, stamp(path), model)


@lru_cache(maxsize=128)  # a checkpoint's header takes 50 ms to judge, and pages ask at each draw
def _file(path: Path, _unchanged: tuple[int, int], model: str) -> Single:
    tensors = check_weights(path, path.name, model)
    found = next((single for family in FAMILIES.values() if (single := family.detect_file(tensors))), None)
    if found is not None:
        return found
    kind = next((kind for family in FAMILIES.values() if (kind := family.foreign_kind(tensors))), None)
    raise problem(model, path.name, "kin", kind=kind) if kind else problem(model, path.name, "tensors")


def fits_base(folder: Path, single: Single, frame: Path | None = None) -> bool:
    """Whether what is in `folder` can be its base: a model of the same family and shape; of a checkpoint with its frame."""
    try:
        family = family_of(frame or folder, "")
        plain = FAMILIES[single.pipeline].plain or single.pipeline
        return family.pipeline == plain and _shape_of(frame or folder, single, family) == single.shape
    except ModelFileError:
        return False


# -- what it is --------------------------------------------------------------------------------------------------------


def _network(folder: Path, model: str) -> Single:
    config = read_json(folder, "config.json", model)
    if "auto_map" in config:
        raise problem(model, "config.json", "foreign")
    family = next((family for family in FAMILIES.values() if family.fits_network(config)), None)
    if family is None:
        raise problem(model, "config.json", "network")
    refuse_pickles(folder, model)
    for file in network_names(folder, model):
        check_weights(folder / file, file, model)
    return Single(family.pipeline, (CONTROLNET,), family.network_shape(config))


def network_names(folder: Path, model: str) -> list[str]:
    """The weight files of a ControlNet's folder, of its smallest variant."""
    return files_of_part(folder, "", network_variant(folder, model), model)


def network_variant(folder: Path, model: str) -> str:
    """ "bf16", "fp16" or "" as for a pipeline's folder, for the ControlNet alone."""
    found = next(iter(variants_of(folder, ("",))), None)
    if found is None:
        raise problem(model, f"*{SAFETENSORS}", "missing")
    return found


def _shape_of(folder: Path, single: Single, family: Family) -> tuple[int, ...]:
    """The numbers of `single.shape`, of a folder that may be the base."""
    config = read_json(folder, f"{family.denoiser}/config.json", "")
    own = FAMILIES[single.pipeline]
    return own.network_shape(config) if CONTROLNET in single.parts else own.denoiser_shape(config)


# -- the files of a model ----------------------------------------------------------------------------------------------


_DENOISERS = {family.denoiser for family in FAMILIES.values()}
Files = tuple[Path, Path | None, Path | None]  # what the model is, its base, its frame


def files_of(info: ModelInfo) -> Files:
    """Where the parts of a model come from, as `weights_by_part` takes it."""
    return Path(info.path or ""), Path(info.base) if info.base else None, Path(info.frame) if info.frame else None


def weights_by_part(path: Path, base: Path | None = None, frame: Path | None = None) -> list[tuple[str, Path]]:
    """Each weight file that the model is read from, with its component; with `base`, what `path` has comes from `path`.

    A checkpoint counts as its denoiser; the frame gives what it lacks.
    """
    whole = base or path
    if frame is None:
        named = [(name.partition("/")[0], whole / name) for name in weight_names(whole, whole.name)]
    else:
        held = look_into(whole, whole.name)
        lacking = checkpoint.lacking(held.pipeline, held.parts)
        named = [(FAMILIES[held.pipeline].denoiser, whole), *checkpoint.weights_of(frame, lacking, whole.name)]
    if base is None:
        return named
    own = look_into(path, path.name).parts
    files = [path] if path.is_file() else [path / name for name in network_names(path, path.name)]
    return [*((own[0], file) for file in files), *(pair for pair in named if pair[0] not in own)]


def count_parameters(path: Path, base: Path | None = None, frame: Path | None = None) -> dict[str, int]:
    """The parameters of each component of a checked model, by the headers of its weights: their dtype does not matter."""
    found: dict[str, int] = {}
    for part, file in weights_by_part(path, base, frame):
        for name, count in _counted(part, file, stamp(file)).items():
            found[name] = found.get(name, 0) + count
    return found


@lru_cache(maxsize=128)
def _counted(part: str, file: Path, _unchanged: tuple[int, int]) -> Mapping[str, int]:
    """Of one file by component: that of `part`, or all that a checkpoint has."""
    tensors = read_header(file)
    pipeline = checkpoint.family_in(tensors) if part in _DENOISERS else None
    if pipeline is not None:
        return checkpoint.parameters_in(tensors, pipeline)
    return {part: sum(math.prod(tensor.shape) for tensor in tensors.values())}
