"""Recognise what is added to another model, or takes the place of its parts: a single file, or a ControlNet's own folder.

The rest comes from a model of the same shape, the base, or from files of the single parts. A whole model in one file, as A1111
saves them and Civitai has them, holds the weights alone: how its parts are built, and the tokenizer's vocabulary, come from its
frame, a diffusers folder of the same shape. For the published shapes one is shipped; of any other shape a folder on this machine
serves, and also gives the parts that the file lacks, as some lack the VAE. Families tell what their files are (see
Family.detect_file). Judged by headers, before memory is allocated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

from core.errors import ModelFileError
from core.models.families import FAMILIES
from core.models.families.base import CONTROLNET, Family, Single, Tensors
from core.models.identify import DECODER_ALONE, FOREIGN_ENCODERS, KINDS, Contents, identify
from core.models.validation import (
    PROBLEMS,
    check_config,
    check_folder,
    check_weights,
    choose_variants,
    family_of,
    files_of_part,
    problem,
    read_json,
)
from core.models.weight_files import GGUF, SAFETENSORS, BadFile, file_state, read_all, read_bytes
from core.models.weight_schemes import Scheme, scheme_of

_WRONG_ENDINGS = {
    **dict.fromkeys(
        (".part", ".partial", ".crdownload", ".download", ".incomplete", ".aria2", ".tmp", ".!qb"), "unfinished"
    ),
    ".sft": "rename",
}


_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")


def is_network(folder: Path) -> bool:
    """Return True for the folder of a ControlNet alone."""
    if not os.path.isdir(folder) or (folder / "model_index.json").exists():
        return False
    try:
        name = read_json(folder, "config.json", "").get("_class_name")
    except ModelFileError:
        return False
    return any(CONTROLNET in family.parts and name in family.parts[CONTROLNET].classes for family in FAMILIES.values())


def itself(path: Path, wanted: str = "") -> Path:
    """Return the file of a folder that holds no more of a model than that, as some repositories do, or the one wanted."""
    if not os.path.isdir(path) or any((path / name).exists() for name in ("model_index.json", "config.json")):
        return path
    if wanted and (path / wanted).is_file():
        return path / wanted
    files = sorted(path.glob(f"*{SAFETENSORS}"))
    return files[0] if len(files) == 1 and not wanted else path


def check_whole(path: Path, model: str, elsewhere: Collection[str] = ()) -> Single | None:
    """Raise ModelFileError unless it is a folder with all parts, then None, or something that needs a base: what it is.

    The weights of parts that lie `elsewhere` need not be in the folder.
    """
    if os.path.isfile(path) or is_network(path):  # os.path: a name that is too long is a missing file
        return look_into(path, model)
    check_folder(path, model, elsewhere)
    return None


def look_into(path: Path, model: str) -> Single:
    """Return what it is; ModelFileError when it can't be used."""
    if os.path.isdir(path):
        return _network(path, model)
    if path.suffix.lower() not in (SAFETENSORS, GGUF):
        raise problem(model, path.name, _WRONG_ENDINGS.get(path.suffix.lower(), "kind"))
    if not path.is_file():
        raise problem(model, path.name, "missing")
    return _file(path, file_state(path), model)


@lru_cache(maxsize=128)  # a checkpoint's header takes 50 ms to judge, and pages ask at each rerun
def _file(path: Path, _unchanged: tuple[int, int], model: str) -> Single:
    tensors = check_weights(path, path.name, model)
    shard = _SHARD.search(path.stem)
    if shard is not None and int(shard[2]) > 1:
        raise problem(model, path.name, "one_shard", number=str(int(shard[1])), count=str(int(shard[2])))
    found = next((single for family in FAMILIES.values() if (single := family.detect_file(tensors))), None)
    if found is None:
        kind = next((kind for family in FAMILIES.values() if (kind := family.foreign_kind(tensors))), None)
        raise (
            problem(model, path.name, "kin", kind=kind)
            if kind
            else _what_it_is(path, contents_of(path), tensors, model)
        )
    try:
        storage_of(path)
    except BadFile as bad:
        raise problem(model, path.name, bad.kind, **bad.values) from None
    return found


def contents_of(path: Path) -> Contents:
    """Return what a weight file holds, from memory while it stays as it is; raises as `read_header` does."""
    return _contents(path, file_state(path))


@lru_cache(maxsize=256)
def _contents(path: Path, _unchanged: tuple[int, int]) -> Contents:
    return identify(read_all(path))


def storage_of(path: Path) -> Scheme:
    """Return how a file's weights are stored; BadFile when that can't be read."""
    return _storage(path, file_state(path))


@lru_cache(maxsize=256)
def _storage(path: Path, _unchanged: tuple[int, int]) -> Scheme:
    header = read_all(path)
    if header.is_gguf:
        return Scheme()
    return scheme_of(header.tensors, header.metadata, lambda tensor: read_bytes(path, tensor))


def fits_base(folder: Path, single: Single, frame: Path | None = None) -> bool:
    """Return True when `folder` can be its base: a model of the same family and shape; of a checkpoint with its frame."""
    try:
        family, own = family_of(frame or folder, ""), FAMILIES[single.pipeline]
        fits = family.pipeline in (own.plain or single.pipeline, *own.kin)
        return fits and _shape_of(frame or folder, single, family) == single.shape
    except ModelFileError:
        return False


def pipeline_with(single: Single, base: Path | None) -> str:
    """Return the pipeline class that a single file makes with its base, see Family.kin."""
    kin = FAMILIES[single.pipeline].kin
    if base is None or not kin or not base.is_dir():
        return single.pipeline
    named = read_json(base, "model_index.json", "").get("_class_name")
    return str(named) if named in kin else single.pipeline


# -- what it is --------------------------------------------------------------------------------------------------------


def _what_it_is(path: Path, contents: Contents, tensors: Tensors, model: str) -> ModelFileError:
    """Return the error for a file that is something else than a model."""
    if contents.kind != "vae" and any(name.startswith("model_ema.") for name in tensors):
        return problem(model, path.name, "ema")
    if contents.kind == "unknown":
        return problem(model, path.name, "tensors")
    if any(component.family == DECODER_ALONE for component in contents.components):
        return problem(model, path.name, "decoder_alone")
    kind, family = KINDS[contents.kind], contents.family or "-"
    is_part = contents.kind in ("text encoder", "vae") and not contents.family.startswith(FOREIGN_ENCODERS)
    lost = _lost_weight(tensors) if is_part and contents.kind == "text encoder" else None
    if lost is not None:
        return problem(model, path.name, "weights_missing", part=contents.kind, count="1", name=lost)
    if is_part:
        try:
            storage_of(path)
        except BadFile as bad:
            return problem(model, path.name, bad.kind, **bad.values)
    name = "part_alone" if is_part else "no_model"
    if contents.kind in ("transformer", "checkpoint", "unet"):
        return problem(model, path.name, "kin", kind=family)
    words = {language: text.format(kind=kind[language], family=family) for language, text in PROBLEMS[name].items()}
    error = ModelFileError(model=model, file=path.name, problem=words)
    error.kind = name
    return error


_LAYER = re.compile(r"(.*\b(?:layers|blk|resblocks)\.)(\d+)(\..+\.weight)")


def _lost_weight(tensors: Tensors) -> str | None:
    """Return a weight that one layer lacks and the others have; None when all layers have the same."""
    found: dict[str, set[tuple[int, str]]] = {}
    for name in tensors:
        if match := _LAYER.fullmatch(name):
            found.setdefault(match[1], set()).add((int(match[2]), match[3]))
    for start, held in found.items():
        layers, ends = range(max(layer for layer, _ in held) + 1), sorted({end for _, end in held})
        lost = next(((layer, end) for layer in layers for end in ends if (layer, end) not in held), None)
        if lost is not None:
            return f"{start}{lost[0]}{lost[1]}"
    return None


def _network(folder: Path, model: str) -> Single:
    config = check_config(folder, "config.json", model)
    family = next((family for family in FAMILIES.values() if family.fits_network(config)), None)
    if family is None:
        raise problem(model, "config.json", "network")
    for file in network_names(folder, model):
        check_weights(folder / file, file, model)
    return Single(family.pipeline, (CONTROLNET,), family.network_shape(config))


def network_names(folder: Path, model: str) -> list[str]:
    """Return the weight files of a ControlNet's folder, of its smallest variant."""
    return files_of_part(folder, "", network_variant(folder, model), model)


def network_variant(folder: Path, model: str) -> str:
    """Return "bf16", "fp16" or "" as for a pipeline's folder, for the ControlNet alone."""
    return choose_variants(folder, ("",), model)[""]


def _shape_of(folder: Path, single: Single, family: Family) -> tuple[int, ...]:
    """Return the numbers of `single.shape`, of a folder that may be the base."""
    config = read_json(folder, f"{family.denoiser}/config.json", "")
    own = FAMILIES[single.pipeline]
    return own.network_shape(config) if CONTROLNET in single.parts else own.denoiser_shape(config)


SHIPPED_FRAMES = tuple(family.checkpoint.frame for family in FAMILIES.values() if family.checkpoint is not None)


def lacking(pipeline: str, parts: Sequence[str]) -> tuple[str, ...]:
    """Return the parts with weights that must come from elsewhere."""
    layout = FAMILIES[pipeline].checkpoint
    return tuple(part for part in (layout.prefixes if layout else FAMILIES[pipeline].weighty) if part not in parts)


def fits_frame(folder: Path, pipeline: str, parts: Sequence[str], shape: Sequence[int]) -> bool:
    """Return True when the folder can be the frame of a file of this family, with these parts and this shape."""
    try:
        family = family_of(folder, "")
        config = read_json(folder, f"{family.denoiser}/config.json", "")
        if family.pipeline != pipeline or family.denoiser_shape(config) != shape:
            return False
        check_frame(folder, pipeline, parts, "")
    except ModelFileError:
        return False
    return True


def check_frame(folder: Path, pipeline: str, parts: Sequence[str], model: str) -> None:
    """Raise ModelFileError unless each part is described, by the libraries' own classes, and what the file lacks has weights."""
    family_of(folder, model)
    for part, kind in FAMILIES[pipeline].parts.items():
        check_config(folder, f"{part}/{kind.config}", model)
    for part, file in weights_of(folder, lacking(pipeline, parts), model):
        check_weights(file, f"{part}/{file.name}", model)


def weights_of(folder: Path, parts: Sequence[str], model: str) -> list[tuple[str, Path]]:
    """Return the weight files of some parts of a diffusers folder, with the part; ModelFileError when one has none."""
    selected = choose_variants(folder, parts, model)
    return [(part, folder / name) for part in parts for name in files_of_part(folder, part, selected[part], model)]
