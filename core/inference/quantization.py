"""Smaller weights: fp8 storage, torchao's int8 and fp8, bitsandbytes' NF4, GGUF files; and what each lacks on this machine.

All but fp8 storage need extras (requirements-extras.txt). Quantised are the linear layers of the repeated blocks, where nearly
all parameters are; embeddings, norms, time and output layers stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from diffusers.hooks import apply_layerwise_casting
from torch import nn

from core.i18n import localize
from core.inference.memory_tiers import FP8_STORAGE
from core.inference.pipeline_reading import gguf_in, is_gguf
from core.types import ModelInfo

STORED = torch.float8_e4m3fn  # 1 byte a weight
PACKAGES = {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes", "gguf": "gguf"}
_KEPT = ("norm", "adaLN_modulation", "lora_")  # layers, by a part of their names, that stay as they were
_NO_FP8_ON_MPS = localize("inference.quantization.no_fp8_on_mps")
FP8_CAPABILITY = (8, 9)  # Ada and newer multiply fp8 in hardware


def missing(kind: str, device: str, info: ModelInfo | None = None) -> Mapping[str, str] | None:
    """Return what `kind` lacks here, by language; None if it can be used. `info` is the model, if known."""
    if info is not None and "memory.quantization" in info.cannot:
        return info.cannot["memory.quantization"]
    if kind == FP8_STORAGE:
        return _NO_FP8_ON_MPS if device == "mps" else None
    package = PACKAGES[kind]
    if find_spec(package) is None:
        return localize("inference.quantization.needs_the_package_pip_install_r", kind=kind, package=package)
    if kind == "fp8" and not (device == "cuda" and torch.cuda.get_device_capability() >= FP8_CAPABILITY):
        return localize("inference.quantization.fp8_needs")
    if kind == "nf4" and device != "cuda":
        return localize("inference.quantization.nf4_needs")
    if kind == "gguf" and (info is None or not _has_gguf(info)):
        return localize("inference.quantization.gguf_needs_a_gguf_file_in")
    return None


def _has_gguf(info: ModelInfo) -> bool:
    return is_gguf(info) or gguf_in(Path(info.base or info.path or "")) is not None


def apply(pipeline: Any, kind: str, text_encoder: bool = True) -> None:
    """Quantise the transformer and, unless it is kept apart, the text encoder in place. GGUF was quantised when it was read."""
    if kind in ("none", "gguf"):
        return
    for module in (pipeline.text_encoder, pipeline.transformer) if text_encoder else (pipeline.transformer,):
        for block in _repeated_blocks(module):
            if kind == FP8_STORAGE:
                _to_fp8_storage(block)
            elif kind == "nf4":
                _to_nf4(block)
            else:
                _by_torchao(block, kind)


def _repeated_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists of layers."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _repeated_blocks(child)


def _to_fp8_storage(block: nn.Module) -> None:
    """Keep weights in fp8 and cast each layer's to the block's own format while it computes (diffusers' layerwise casting)."""
    compute = next(one.dtype for one in block.parameters() if one.is_floating_point())
    apply_layerwise_casting(block, STORED, compute, skip_modules_pattern=_KEPT)


def _by_torchao(block: nn.Module, kind: str) -> None:
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Int8WeightOnlyConfig,
        PerRow,
        quantize_,
    )

    config = Int8WeightOnlyConfig() if kind == "int8" else Float8DynamicActivationFloat8WeightConfig(PerRow())
    quantize_(block, config)


def _to_nf4(module: nn.Module) -> None:
    """Linear layers become 4-bit ones; their weights are quantised when they reach the GPU."""
    import bitsandbytes

    for name, child in list(module.named_children()):
        if type(child) is not nn.Linear:
            _to_nf4(child)
            continue
        small = bitsandbytes.nn.Linear4bit(
            child.in_features,
            child.out_features,
            child.bias is not None,
            compute_dtype=child.weight.dtype,
            quant_type="nf4",
        )
        small.weight = bitsandbytes.nn.Params4bit(child.weight.data, requires_grad=False, quant_type="nf4")
        small.bias = child.bias
        setattr(module, name, small.to("cuda"))
