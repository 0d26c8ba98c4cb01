"""A whole model in one .safetensors file: SD 1.5 or SDXL as A1111 saves them and Civitai has them.

The file has the weights alone. How its parts are built, and the tokenizer's words, are told by its frame: a diffusers folder of
the same shape. For the published shapes one is shipped; of any other shape a folder on this machine serves, and also gives the
parts that the file lacks, as some lack the VAE. Judged by headers, before any memory is taken.
What this module does not know: torch, diffusers, the catalogue.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import ModelFileError
from core.model.checks import check_weights, family_of, files_of_part, problem, read_json, refuse_pickles, variants_of
from core.model.families import FAMILIES, SD, SDXL
from core.model.formats import Tensor

Tensors = Mapping[str, Tensor]

SHIPPED = tuple(Path(__file__).with_name("frames") / name for name in ("sd15", "sdxl"))
KINDS = {SD: "SD 1.5", SDXL: "SDXL"}
PARTS: Mapping[str, Mapping[str, str]] = {  # how the names of each part's tensors begin
    SD: {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": "cond_stage_model.transformer.text_model."},
    SDXL: {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder": "conditioner.embedders.0.transformer.text_model.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
}  # fmt: skip
V_PREDICTION, ZERO_SNR = (
    "v_pred",
    "ztsnr",
)  # empty tensors: what the U-Net foretells, and that its noise ends in noise alone
_UNET = "model.diffusion_model."
_ADDED = f"{_UNET}label_emb.0.0.weight"  # SDXL is told sizes, too
_LATENTS = 4  # channels that a U-Net for text alone reads
_FOREIGN = {  # the beginning of a name -> the kind of model that alone has it
    "cond_stage_model.model.": "Stable Diffusion 2",
    "conditioner.embedders.0.model.": "SDXL refiner",
    f"{_UNET}joint_blocks.": "Stable Diffusion 3",
    f"{_UNET}double_blocks.": "FLUX",
    "edm_mean": "Playground 2.5",
}


def family_in(tensors: Tensors) -> str | None:
    """The pipeline that the tensors of such a file are for, by their names; None when it is no such file."""
    if not any(name.startswith(f"{_UNET}input_blocks.") for name in tensors):
        return None
    return SDXL if _ADDED in tensors else SD


def foreign_kind(tensors: Tensors) -> str | None:
    """What else a file in this layout is, when it is neither SD 1.5 nor SDXL."""
    for begin, kind in _FOREIGN.items():
        if any(name.startswith(begin) for name in tensors):
            return kind
    begins = PARTS[SDXL if _ADDED in tensors else SD]
    texts = [name for name in tensors if name.startswith(("cond_stage_model.", "conditioner.embedders.0."))]
    if texts and not any(name.startswith(begins["text_encoder"]) for name in texts):
        return "a text encoder whose tensors go by other names"
    first = tensors.get(f"{_UNET}input_blocks.0.0.weight")
    if first is not None and len(first.shape) == 4 and first.shape[1] != _LATENTS:
        return f"inpainting or editing, {first.shape[1]} channels"
    return None


def parts_in(tensors: Tensors, pipeline: str) -> tuple[str, ...]:
    """The parts that the file has, of those that the family has."""
    begins = PARTS[pipeline]
    return tuple(part for part in begins if any(name.startswith(begins[part]) for name in tensors))


def lacking(pipeline: str, parts: Sequence[str]) -> tuple[str, ...]:
    """The parts that must come from the frame."""
    return tuple(part for part in PARTS[pipeline] if part not in parts)


def parameters_in(tensors: Tensors, pipeline: str) -> dict[str, int]:
    """How many parameters each part has; what belongs to none, such as averages of a training, is not read."""
    return {
        part: sum(math.prod(tensor.shape) for name, tensor in tensors.items() if name.startswith(begin))
        for part, begin in PARTS[pipeline].items()
        if any(name.startswith(begin) for name in tensors)
    }


# -- the shape of a U-Net ----------------------------------------------------------------------------------------------


def shape_in(tensors: Tensors) -> tuple[int, ...]:
    """Width of the texts, of what else is told, then of each block its channels and its transformers' depth."""
    return (
        _side(next((tensor for name, tensor in tensors.items() if re.match(_TEXTS, name)), None), 1),
        _side(tensors.get(_ADDED), 1),
        *(number for block in _blocks(tensors) for number in block),
    )


def shape_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The same numbers out of a U-Net's config.json."""
    kinds, channels = config.get("down_block_types", ()), config.get("block_out_channels", ())
    depth = config.get("transformer_layers_per_block", 1)
    depths = depth if isinstance(depth, list) else [depth] * len(channels)
    blocks = zip(channels, kinds, depths, strict=False)
    return (
        config.get("cross_attention_dim") or 0,
        config.get("projection_class_embeddings_input_dim") or 0,
        *(number for width, kind, deep in blocks for number in (width, deep if "CrossAttn" in kind else 0)),
    )


def _side(tensor: Tensor | None, index: int) -> int:
    return tensor.shape[index] if tensor is not None and len(tensor.shape) > index else 0


_TEXTS = re.escape(_UNET) + r"(input_blocks\.\d+|middle_block)\.1\.transformer_blocks\.0\.attn2\.to_k\.weight$"


def _blocks(tensors: Tensors) -> Iterator[tuple[int, int]]:
    """Channels and depth of each block on the way down: a layer that only halves the sides ends one."""
    names = [name.removeprefix(f"{_UNET}input_blocks.") for name in tensors if name.startswith(f"{_UNET}input_blocks.")]
    layers = sorted({int(name.partition(".")[0]) for name in names} - {0})
    width = depth = 0
    for layer in layers:
        if f"{_UNET}input_blocks.{layer}.0.op.weight" in tensors:
            yield width, depth
            width = depth = 0
            continue
        width = _side(tensors.get(f"{_UNET}input_blocks.{layer}.0.out_layers.3.weight"), 0)
        found = [re.match(rf"{layer}\.1\.transformer_blocks\.(\d+)\.", name) for name in names]
        depth = max((int(one[1]) + 1 for one in found if one), default=depth)
    yield width, depth


# -- its frame ---------------------------------------------------------------------------------------------------------


def fits_frame(folder: Path, pipeline: str, parts: Sequence[str], shape: Sequence[int]) -> bool:
    """Whether the folder can be the frame of a file of this family, with these parts and this shape."""
    try:
        if family_of(folder, "").pipeline != pipeline or shape_of(read_json(folder, "unet/config.json", "")) != shape:
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
