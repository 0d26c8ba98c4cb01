"""Find the parts and the frame of a whole model in one file, as A1111 saves them and Civitai has them.

The file has the weights alone. How its parts are built, and the tokenizer's vocabulary, are told by its frame: a diffusers folder
of the same shape. For the published shapes one is shipped; of any other shape a folder on this machine serves, and also gives the
parts that the file lacks, as some lack the VAE. Judged by headers, before memory is allocated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import ModelFileError
from core.models.families import FAMILIES
from core.models.validation import check_config, check_weights, choose_variants, family_of, files_of_part, read_json

SHIPPED = tuple(family.checkpoint.frame for family in FAMILIES.values() if family.checkpoint is not None)


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
