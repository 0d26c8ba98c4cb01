"""Find the parts and the frame of a whole model in one .safetensors file, as A1111 saves them and Civitai has them.

The file has the weights alone. How its parts are built, and the tokenizer's vocabulary, are told by its frame: a diffusers folder
of the same shape. For the published shapes one is shipped; of any other shape a folder on this machine serves, and also gives the
parts that the file lacks, as some lack the VAE. Judged by headers, before any memory is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from core.errors import ModelFileError
from core.models.families import FAMILIES
from core.models.families.base import Tensors
from core.models.validation import (
    check_weights,
    family_of,
    files_of_part,
    problem,
    read_json,
    refuse_pickles,
    variants_of,
)

SHIPPED = tuple(family.checkpoint.frame for family in FAMILIES.values() if family.checkpoint is not None)


def family_in(tensors: Tensors) -> str | None:
    """Return the pipeline that a checkpoint's tensors are for; None when they are no checkpoint."""
    found = (family.detect_file(tensors) for family in FAMILIES.values() if family.checkpoint is not None)
    return next((single.pipeline for single in found if single is not None and single.whole), None)


def prefixes(pipeline: str) -> dict[str, str]:
    """Return how the names of each part's tensors begin in a checkpoint."""
    layout = FAMILIES[pipeline].checkpoint
    return dict(layout.prefixes) if layout is not None else {}


def lacking(pipeline: str, parts: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that must come from the frame."""
    return tuple(part for part in prefixes(pipeline) if part not in parts)


def parameters_in(tensors: Tensors, pipeline: str) -> dict[str, int]:
    """Count the parameters of each part; what belongs to none, such as averages of a training, is not read."""
    return {
        part: sum(math.prod(tensor.shape) for name, tensor in tensors.items() if name.startswith(begin))
        for part, begin in prefixes(pipeline).items()
        if any(name.startswith(begin) for name in tensors)
    }


# -- its frame ---------------------------------------------------------------------------------------------------------


def fits_frame(folder: Path, pipeline: str, parts: Sequence[str], shape: Sequence[int]) -> bool:
    """Whether the folder can be the frame of a file of this family, with these parts and this shape."""
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
    """ModelFileError unless each part is described, by the libraries' own classes, and what the file lacks has weights."""
    if folder not in SHIPPED:
        refuse_pickles(folder, model)
    family_of(folder, model)
    for part, kind in FAMILIES[pipeline].parts.items():
        read_json(folder, f"{part}/{kind.config}", model)
    for part, file in weights_of(folder, lacking(pipeline, parts), model):
        check_weights(file, f"{part}/{file.name}", model)


def weights_of(folder: Path, parts: Sequence[str], model: str) -> list[tuple[str, Path]]:
    """The weight files of some parts of a diffusers folder, with the part; ModelFileError when one has none."""
    variant = variant_for(folder, parts, model)
    return [(part, folder / name) for part in parts for name in files_of_part(folder, part, variant, model)]


def variant_for(folder: Path, parts: Sequence[str], model: str) -> str:
    """The first variant that all these parts have in the folder; ModelFileError when there is none."""
    found = variants_of(folder, parts)
    if not found:
        raise problem(model, f"{parts[0]}/*.safetensors", "missing")
    return found[0]
