"""From files to a pipeline in memory: a diffusers folder of any family, or a single file or ControlNet and the rest of a base."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import GGUFQuantizationConfig
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors import safe_open

from core.errors import ModelFileError
from core.i18n import localize
from core.models import checkpoint
from core.models.families import FAMILIES, backend_of
from core.models.families.base import CONTROLNET
from core.models.single_file import files_of, look_into, network_variant
from core.models.validation import check_folder, problem, read_json, variant_of
from core.models.weight_files import GGUF, read_header
from core.types import ModelInfo

_LACKS_GGUF = localize("inference.pipeline_reading.lacks_gguf")

MAPPED = 64_000_000  # bytes of a checkpoint at a time, see _weights
_LIKE = {
    "unet": "transformer",
    CONTROLNET: "transformer",
    "text_encoder_2": "text_encoder",
}  # part -> the one whose options it has


def option_part(part: str) -> str:
    """The component whose options a part of any family follows: text_encoder, transformer or vae."""
    return _LIKE.get(part, part)


def is_gguf(info: ModelInfo) -> bool:
    """Whether the model is a single GGUF file."""
    return bool(info.base) and Path(info.path or "").suffix.lower() == GGUF


def gguf_in(folder: Path) -> Path | None:
    """The transformer of a diffusers folder as GGUF, if it lies beside the other weights."""
    return next(iter(sorted((folder / "transformer").glob(f"*{GGUF}"))), None)


def check_model(info: ModelInfo) -> None:
    """Everything that can be known of the files before memory is taken; ModelFileError."""
    path, base, frame = files_of(info)
    if frame is None:
        check_folder(base or path, info.id)
    else:
        single = look_into(base or path, info.id)
        checkpoint.check_frame(frame, single.pipeline, single.parts, info.id)
    if base:
        look_into(path, info.id)
        if is_gguf(info) and find_spec("gguf") is None:
            raise ModelFileError(model=info.id, file=path.name, problem=_LACKS_GGUF)


def read_pipeline(info: ModelInfo, dtypes: Mapping[str, torch.dtype]) -> Any:
    """The pipeline on the CPU; `dtypes` of text_encoder, transformer (or U-Net) and vae.

    Only the libraries' own classes, only safetensors and GGUF, nothing from the network.
    """
    _silence_libraries()
    family = FAMILIES[info.pipeline]
    kinds = {part: dtypes[option_part(part)] for part in family.weighty}
    folder = Path(info.base or info.path or "")
    kind = getattr(diffusers, family.pipeline)
    given = dict.fromkeys(part for part in family.unused if part in kind._optional_components)
    given = {**given, **_read_own(info, kinds), **family.arguments}
    if info.frame:
        pipeline = _read_checkpoint(kind, folder, Path(info.frame), kinds, given)
    else:
        pipeline = kind.from_pretrained(
            folder, variant=variant_of(folder, info.id) or None, dtype=kinds, **given, **_RULES
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


_RULES = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}


def _read_checkpoint(
    kind: Any, file: Path, frame: Path, kinds: Mapping[str, torch.dtype], given: Mapping[str, Any]
) -> Any:
    """A whole model in one file: its parts by diffusers' own reading, each in its format; what it lacks from the frame."""
    tensors = read_header(file)
    single = look_into(file, file.name)
    parts = {part: _read_part(frame, part, kinds[part]) for part in checkpoint.lacking(single.pipeline, single.parts)}
    for part in single.parts:
        names = [name for name in tensors if name.startswith(checkpoint.prefixes(single.pipeline)[part])]
        parts[part] = _converted(frame, part, _weights(file, names, kinds[part]), kinds[part])
    pipeline = kind.from_pretrained(frame, **parts, **given, **_RULES)
    changed = FAMILIES[single.pipeline].scheduler_changes(tensors)
    if changed:
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **changed)
    return pipeline


def _weights(file: Path, names: Sequence[str], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Some tensors of a file in this format. What is stored in it stays mapped; of the rest no more than MAPPED bytes are
    mapped at a time, so that what was stored and what was made of it are not both in memory."""
    found: dict[str, torch.Tensor] = {}
    left = list(names)
    while left:
        with safe_open(file, "pt") as opened:
            copied = 0
            while left and copied < MAPPED:
                tensor = opened.get_tensor(left[-1])
                found[left.pop()] = tensor.to(dtype)
                copied += 0 if tensor.dtype == dtype else tensor.numel() * tensor.element_size()
    return {name: found[name] for name in names}


def _converted(frame: Path, part: str, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> Any:
    """A part made of its weights by their first names; ValueError where some are missing."""
    kind = _class_of(frame, part)
    here: dict[str, Any] = {"config": str(frame), "subfolder": part, "local_files_only": True}
    lacks = f"the file lacks some of the weights of {part}"
    try:
        if part.startswith("text_encoder"):
            made = create_diffusers_clip_model_from_ldm(kind, checkpoint=weights, torch_dtype=dtype, **here)
        else:
            made = kind.from_single_file(weights, dtype=dtype, **here)
    except NotImplementedError as error:  # torch's, where it is to move a weight that is in no memory
        raise ValueError(lacks) from error
    if any(weight.is_meta for weight in made.parameters()):
        raise ValueError(lacks)
    return made


def _class_of(frame: Path, part: str) -> Any:
    """The class that a folder, which has been checked, names for a part."""
    library, name = read_json(frame, "model_index.json", frame.name)[part]
    return getattr({"diffusers": diffusers, "transformers": transformers}[library], name)


def _read_part(frame: Path, part: str, dtype: torch.dtype) -> Any:
    """One part out of a diffusers folder."""
    variant = checkpoint.variant_for(frame, (part,), frame.name) or None
    return _class_of(frame, part).from_pretrained(
        frame, subfolder=part, variant=variant, dtype=dtype, use_safetensors=True, local_files_only=True
    )


def _read_own(info: ModelInfo, kinds: Mapping[str, torch.dtype]) -> dict[str, Any]:
    """The parts that do not come from the base, by name."""
    path, base = Path(info.path or ""), info.base
    if base is None:
        return {}
    single = look_into(path, info.id)
    if CONTROLNET in single.parts:
        return {CONTROLNET: _read_network(path, base, kinds[CONTROLNET], info)}
    denoiser = FAMILIES[info.pipeline].denoiser
    return {denoiser: read_denoiser(info.pipeline, path, base, kinds[denoiser])}


def _read_network(path: Path, base: str, dtype: torch.dtype, info: ModelInfo) -> Any:
    """Read a ControlNet from its folder, or from a single file whose configuration its family makes."""
    family = FAMILIES[info.pipeline]
    if path.is_dir():
        kind = getattr(diffusers, family.parts[CONTROLNET].classes[0])
        variant = network_variant(path, info.id) or None
        return kind.from_pretrained(path, variant=variant, dtype=dtype, use_safetensors=True, local_files_only=True)
    config = read_json(Path(base), f"{family.denoiser}/config.json", info.id)
    network = backend_of(info.pipeline).network_from_file(path, config, dtype)
    if network is None:
        raise problem(info.id, path.name, "places")
    return network


def read_denoiser(pipeline: str, path: Path, base: str, dtype: torch.dtype) -> Any:
    """Read a transformer or U-Net out of a single file, of the shape that the folder `base` has.

    A GGUF file stays quantised in memory, and is multiplied out layer by layer.
    """
    quantised = (
        {"quantization_config": GGUFQuantizationConfig(compute_dtype=dtype)} if path.suffix.lower() == GGUF else {}
    )
    family = FAMILIES[pipeline]
    kind = getattr(diffusers, family.parts[family.denoiser].classes[0])
    return kind.from_single_file(
        str(path), config=base, subfolder=family.denoiser, dtype=dtype, local_files_only=True, **quantised
    )


def _silence_libraries() -> None:
    """Their progress bars would stand in the middle of ours, and in the log."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    # The pipelines warn of a cut prompt with its words; what people write does not belong into a log, and the record says it.
    logging.getLogger("diffusers.pipelines").setLevel(logging.ERROR)
    # It warns of each change of precision, of parts that have nothing to keep in float32, too.
    logging.getLogger("diffusers.models.modeling_utils").setLevel(logging.ERROR)
    for folder in {family.folder for family in FAMILIES.values()}:
        logging.getLogger(f"diffusers.pipelines.{folder}").setLevel(logging.ERROR)
