"""List the names of Qwen-Image's layers in published LoRAs: diffusers' own, with dots or, as kohya writes them, underscores."""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.models.families.base import LORA_PREFIXES, Alias, LoraNames, LoraPart, Modules


def _aliases(modules: Modules) -> Iterator[Alias]:
    return (Alias(name, name) for name in modules)


def _plain(modules: Modules) -> Modules:
    return {re.sub(r"^(model\.)?diffusion_model\.", "", name): shape for name, shape in modules.items()}


LORA = LoraNames(
    kind="qwen-image",
    label="Qwen-Image",
    layers=re.compile(r"transformer_blocks_\d+_(attn_(to|add)_[a-z_]+\d?|(img|txt)_(mlp_net_[02](_proj)?|mod_1))"),
    width=re.compile(r"_attn_(to_q|to_k|to_v|add_[qkv]_proj)$"),
    certain=re.compile(  # attention has the names and the width of FLUX.1's, which has 19 such blocks and not 60
        r"transformer_blocks_(\d+_(img|txt)_(mlp|mod)_.*|(19|[2-9]\d)_attn_(to|add)_\w+:3072$)"
    ),
    parts=(LoraPart("transformer", LORA_PREFIXES, _aliases, _plain),),
)
