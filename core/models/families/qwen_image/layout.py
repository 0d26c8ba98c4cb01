"""List the weights that a Qwen-Image transformer must have, and the names of LoRA layers.

Files of all publishers have diffusers' names, GGUF files too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.models.families.base import LORA_PREFIXES, Alias, LoraNames, LoraPart, Modules
from core.models.weight_files import Tensor

TIME = 256  # width of the time embedding


def shape_of(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return what QwenImage.denoiser_shape reads of a configuration, from a transformer's tensors, its prefix cut off."""
    head = tensors["transformer_blocks.0.attn.norm_q.weight"].shape[0]
    width, joint = tensors["txt_in.weight"].shape
    blocks = len({match[1] for name in tensors if (match := re.match(r"transformer_blocks\.(\d+)\.", name))})
    return width // head, head, blocks, joint


def expected(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """Return every weight of a transformer of this configuration with its shape; None for parts that only Layered has."""
    if config.get("use_additional_t_cond") or config.get("guidance_embeds"):
        return None
    head, joint = config["attention_head_dim"], config["joint_attention_dim"]
    width = config["num_attention_heads"] * head
    pixels = config.get("patch_size", 2) ** 2 * (config.get("out_channels") or 16)
    found = {
        **_linear("time_text_embed.timestep_embedder.linear_1", width, TIME),
        **_linear("time_text_embed.timestep_embedder.linear_2", width, width),
        "txt_norm.weight": (joint,),
        **_linear("img_in", width, config["in_channels"]),
        **_linear("txt_in", width, joint),
        **_linear("norm_out.linear", 2 * width, width),
        **_linear("proj_out", pixels, width),
    }
    for index in range(config["num_layers"]):
        block = f"transformer_blocks.{index}"
        for layer in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
            found |= _linear(f"{block}.attn.{layer}", width, width)
        for norm in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            found[f"{block}.attn.{norm}.weight"] = (head,)
        for stream in ("img", "txt"):
            found |= _linear(f"{block}.{stream}_mod.1", 6 * width, width)
            found |= _linear(f"{block}.{stream}_mlp.net.0.proj", 4 * width, width)
            found |= _linear(f"{block}.{stream}_mlp.net.2", width, 4 * width)
    return found


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


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
