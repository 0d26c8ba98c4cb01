"""Quantise weights: fp8 storage, torchao's int8 and fp8, bitsandbytes' NF4, GGUF files.

All but fp8 storage need extras (requirements-extras.txt); `load_choices.missing` says what each lacks on this machine. Quantised
are the linear layers of the repeated blocks, where nearly all parameters are; embeddings, norms, time and output layers stay as
they were.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks import apply_layerwise_casting
from torch import nn

from core.inference.memory_tiers import FP8_STORAGE
from core.inference.residency import repeated_blocks

STORED = torch.float8_e4m3fn  # 1 byte a weight
_KEPT = ("norm", "adaLN_modulation", "lora_")  # layers, by a part of their names, that stay as they were


def apply(pipeline: Any, kind: str, text_encoder: bool = True) -> None:
    """Quantise the transformer and, unless it is kept apart, the text encoder in place. GGUF was quantised when it was read."""
    if kind in ("none", "gguf"):
        return
    for module in (pipeline.text_encoder, pipeline.transformer) if text_encoder else (pipeline.transformer,):
        for block in repeated_blocks(module):
            if kind == FP8_STORAGE:
                _to_fp8_storage(block)
            elif kind == "nf4":
                _to_nf4(block)
            else:
                _by_torchao(block, kind)


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
