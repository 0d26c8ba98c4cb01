"""What is added to another model, or takes the place of its parts: a single file, or a ControlNet's own folder.

A file of a Z-Image transformer or of a Z-Image ControlNet; a folder of a ControlNet for SDXL or Z-Image. The rest comes from
a model of the same shape, the base. A whole SD 1.5 or SDXL in one file has no base, but a frame (see checkpoint.py).
Judged by headers, before any memory is taken.
What this module does not know: torch, diffusers, the catalogue.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import ModelFileError
from core.model import checkpoint
from core.model.checks import (
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
from core.model.families import CONTROLNET, FAMILIES, SDXL_CONTROL, Z_IMAGE, Z_IMAGE_CONTROL
from core.model.formats import GGUF, SAFETENSORS, Tensor, read_header, stamp
from core.types import ModelInfo

Tensors = Mapping[str, Tensor]

CONTROL_STEPS = (2, 5)  # transformer layers from one control layer to the next, in the published Z-Image ControlNets
_NETWORKS = {"ControlNetModel": SDXL_CONTROL, "ZImageControlNetModel": Z_IMAGE_CONTROL}


@dataclass(frozen=True)
class Single:
    """`pipeline`: what it makes with its base. `parts`: those that it has. `shape`: what the base must have, too.

    `whole`: a checkpoint, which has a frame in place of a base.
    """

    pipeline: str
    parts: tuple[str, ...]
    shape: tuple[int, ...]
    whole: bool = False


def is_network(folder: Path) -> bool:
    """Whether this is the folder of a ControlNet alone."""
    if not os.path.isdir(folder) or (folder / "model_index.json").exists():
        return False
    try:
        return read_json(folder, "config.json", "").get("_class_name") in _NETWORKS
    except ModelFileError:
        return False


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
    kind = checkpoint.foreign_kind(tensors)
    if kind is not None:
        raise problem(model, path.name, "kin", kind=kind)
    found = _control_file(tensors) or _transformer(tensors) or _checkpoint(tensors)
    if found is None:
        raise problem(model, path.name, "tensors")
    return found


def fits_base(folder: Path, single: Single, frame: Path | None = None) -> bool:
    """Whether what is in `folder` can be its base: a model of the same family and shape; of a checkpoint with its frame."""
    try:
        family = family_of(frame or folder, "")
        plain = FAMILIES[single.pipeline].plain or single.pipeline
        return family.pipeline == plain and _shape_of(frame or folder, single) == single.shape
    except ModelFileError:
        return False


# -- what it is --------------------------------------------------------------------------------------------------------


def _network(folder: Path, model: str) -> Single:
    config = read_json(folder, "config.json", model)
    name = str(config.get("_class_name"))
    if "auto_map" in config:
        raise problem(model, "config.json", "foreign")
    if name not in _NETWORKS or (name == "ControlNetModel" and config.get("addition_embed_type") != "text_time"):
        raise problem(model, "config.json", "network")
    refuse_pickles(folder, model)
    for file in network_names(folder, model):
        check_weights(folder / file, file, model)
    return Single(_NETWORKS[name], (CONTROLNET,), _network_shape(config))


def _network_shape(config: Mapping[str, Any]) -> tuple[int, ...]:
    if "dim" in config:
        return (config["dim"],)
    keys = ("cross_attention_dim", "projection_class_embeddings_input_dim")
    return (*(config.get(key) or 0 for key in keys), *config.get("block_out_channels", ()))


def network_names(folder: Path, model: str) -> list[str]:
    """The weight files of a ControlNet's folder, of its smallest variant."""
    return files_of_part(folder, "", network_variant(folder, model), model)


def network_variant(folder: Path, model: str) -> str:
    """ "bf16", "fp16" or "" as for a pipeline's folder, for the ControlNet alone."""
    found = next(iter(variants_of(folder, ("",))), None)
    if found is None:
        raise problem(model, f"*{SAFETENSORS}", "missing")
    return found


def _control_file(tensors: Tensors) -> Single | None:
    embedder = next((tensor for name, tensor in tensors.items() if name.startswith("control_all_x_embedder.")), None)
    return Single(Z_IMAGE_CONTROL, (CONTROLNET,), embedder.shape[:1]) if embedder is not None else None


def _transformer(tensors: Tensors) -> Single | None:
    """Its width and the text encoder's."""
    caption = next((tensor for name, tensor in tensors.items() if name.endswith("cap_embedder.1.weight")), None)
    return Single(Z_IMAGE, ("transformer",), caption.shape) if caption and len(caption.shape) == 2 else None


def _checkpoint(tensors: Tensors) -> Single | None:
    pipeline = checkpoint.family_in(tensors)
    if pipeline is None:
        return None
    return Single(pipeline, checkpoint.parts_in(tensors, pipeline), checkpoint.shape_in(tensors), whole=True)


def _shape_of(folder: Path, single: Single) -> tuple[int, ...]:
    """The same numbers of a folder that may be the base."""
    if single.pipeline in (Z_IMAGE, Z_IMAGE_CONTROL):
        config = read_json(folder, "transformer/config.json", "")
        return (config.get("dim", 0), config.get("cap_feat_dim", 0))[: len(single.shape)]
    return _network_shape(read_json(folder, "unet/config.json", ""))


# -- the files of a model ----------------------------------------------------------------------------------------------


Files = tuple[Path, Path | None, Path | None]  # what the model is, its base, its frame


def files_of(info: ModelInfo) -> Files:
    """Where the parts of a model come from, as `weights_by_part` takes it."""
    return Path(info.path or ""), Path(info.base) if info.base else None, Path(info.frame) if info.frame else None


def weights_by_part(path: Path, base: Path | None = None, frame: Path | None = None) -> list[tuple[str, Path]]:
    """Each weight file that the model is read from, with its component; with `base`, what `path` has comes from `path`.

    A checkpoint counts as its U-Net; the frame gives what it lacks.
    """
    whole = base or path
    if frame is None:
        named = [(name.partition("/")[0], whole / name) for name in weight_names(whole, whole.name)]
    else:
        held = look_into(whole, whole.name)
        lacking = checkpoint.lacking(held.pipeline, held.parts)
        named = [("unet", whole), *checkpoint.weights_of(frame, lacking, whole.name)]
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
    pipeline = checkpoint.family_in(tensors) if part == "unet" else None
    if pipeline is not None:
        return checkpoint.parameters_in(tensors, pipeline)
    return {part: sum(math.prod(tensor.shape) for tensor in tensors.values())}


# -- a Z-Image ControlNet in one file ----------------------------------------------------------------------------------


def network_config(path: Path, transformer: Mapping[str, Any], refined: bool, model: str) -> dict[str, Any]:
    """The configuration that such a file lacks, from its tensors and the transformer's own configuration.

    `refined`: whether its noise refiner has weights of its own that act, which its header does not tell.
    """
    tensors = read_header(path)
    layers = len(set(_numbers(tensors, "control_layers")))
    step, left = divmod(transformer["n_layers"], max(1, layers))
    if left or step not in CONTROL_STEPS:
        raise problem(model, path.name, "places")
    shared = (
        "all_patch_size",
        "all_f_patch_size",
        "dim",
        "n_refiner_layers",
        "n_heads",
        "n_kv_heads",
        "norm_eps",
        "qk_norm",
    )
    embedder = next(tensor for name, tensor in tensors.items() if re.match(r"control_all_x_embedder.*weight", name))
    pixels = transformer["all_patch_size"][0] ** 2 * transformer["all_f_patch_size"][0]
    second = any(name.startswith("control_noise_refiner.0.after_proj") for name in tensors) or step == min(
        CONTROL_STEPS
    )
    kind = ("control_noise_refiner" if refined else "control_layers") if second else None
    return {
        **{key: transformer[key] for key in shared},
        "_class_name": "ZImageControlNetModel",
        "control_in_dim": embedder.shape[1] // pixels,
        "control_layers_places": list(range(0, transformer["n_layers"], step)),
        "control_refiner_layers_places": list(range(transformer["n_refiner_layers"])),
        "add_control_noise_refiner": kind,
    }


def _numbers(tensors: Tensors, start: str) -> Iterator[int]:
    for name in tensors:
        if found := re.match(rf"{start}\.(\d+)\.", name):
            yield int(found[1])
