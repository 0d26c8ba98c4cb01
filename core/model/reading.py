"""From files to a pipeline in memory: a diffusers folder of any family, or a single file with the other parts of a base.

What this module does not know: devices, the catalogue, how a picture is drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import GGUFQuantizationConfig, ZImagePipeline, ZImageTransformer2DModel

from core.errors import ModelFileError
from core.model.checks import check_file, check_folder, variant_of
from core.model.families import FAMILIES
from core.model.formats import GGUF
from core.types import ModelInfo

_LACKS_GGUF = {
    "en": "reading GGUF files needs the package gguf, which is not installed: pip install gguf",
    "zh": "读取 GGUF 文件需要 gguf 软件包，但尚未安装：pip install gguf",
}

_LIKE = {"unet": "transformer", "text_encoder_2": "text_encoder"}  # parts that an option of another name sets


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
    path = Path(info.path or "")
    check_folder(Path(info.base) if info.base else path, info.id)
    if info.base:
        check_file(path, info.id)
        if is_gguf(info) and find_spec("gguf") is None:
            raise ModelFileError(model=info.id, file=path.name, problem=_LACKS_GGUF)


def read_pipeline(info: ModelInfo, dtypes: Mapping[str, torch.dtype]) -> Any:
    """The pipeline on the CPU; `dtypes` of text_encoder, transformer (or U-Net) and vae.

    Only the libraries' own classes, only safetensors and GGUF, nothing from the network.
    """
    _silence_libraries()
    path = Path(info.path or "")
    family = FAMILIES[info.pipeline]
    kinds = {part: dtypes[option_part(part)] for part in family.weighty}
    rules = {"dtype": kinds, "use_safetensors": True, "local_files_only": True, "trust_remote_code": False}
    if info.base:
        pipeline = ZImagePipeline.from_pretrained(
            info.base, transformer=read_transformer(path, info.base, dtypes["transformer"]), **rules
        )
    else:
        variant = variant_of(path, info.id)
        kind = getattr(diffusers, family.pipeline)
        unread = dict.fromkeys(part for part in family.unused if part in kind._optional_components)
        silence = {"requires_safety_checker": False} if "safety_checker" in family.unused else {}
        pipeline = kind.from_pretrained(path, variant=variant or None, **unread, **silence, **rules)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def read_transformer(path: Path, base: str, dtype: torch.dtype) -> Any:
    """Out of a single file, of the shape that the folder `base` has.

    A GGUF file stays quantised in memory, and is multiplied out layer by layer.
    """
    quantised = (
        {"quantization_config": GGUFQuantizationConfig(compute_dtype=dtype)} if path.suffix.lower() == GGUF else {}
    )
    return ZImageTransformer2DModel.from_single_file(
        str(path), config=base, subfolder="transformer", dtype=dtype, local_files_only=True, **quantised
    )


def _silence_libraries() -> None:
    """Their progress bars would stand in the middle of ours, and in the log."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    # The pipelines warn of a cut prompt with its words; what people write does not belong into a log, and the record says it.
    logging.getLogger("diffusers.pipelines").setLevel(logging.ERROR)
    for name in ("stable_diffusion", "stable_diffusion_xl"):
        logging.getLogger(f"diffusers.pipelines.{name}").setLevel(logging.ERROR)
