"""List the names that a FLUX.2 transformer's weights have in files, and which weights it must have.

The publisher's files, ComfyUI's and GGUF files made of them fuse queries, keys and values of the blocks with two streams into one
matrix, and name all layers otherwise. The modulation before the last layer has shift and scale in the other order there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.models.families.flux2.lora_names import DOUBLE, FUSED, OUTER, SINGLE
from core.models.weight_files import Tensor

SWAPPED = "final_layer.adaLN_modulation.1"
_OWN = {**{original: own for own, original in OUTER.items()}, SWAPPED: "norm_out.linear"}
_NORMS = {
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
_BLOCK = re.compile(r"(single|double)_blocks\.(\d+)\.(.+)$")


def targets(name: str) -> tuple[str, ...]:
    """Return diffusers' names for a stored tensor: several for one that is cut into equal parts by rows."""
    module, _, kind = name.rpartition(".")
    if module in _OWN:
        return (f"{_OWN[module]}.{kind}",)
    block = _BLOCK.match(module)
    if block is None:
        return (name,)
    start, inner = f"{'single_' if block[1] == 'single' else ''}transformer_blocks.{block[2]}", block[3]
    if inner in _NORMS:
        return (f"{start}.{_NORMS[inner]}.weight",)  # "scale" in the publisher's files
    if inner in FUSED:
        return tuple(f"{start}.{part}.{kind}" for part in FUSED[inner])
    known = {original: own for own, original in (SINGLE if block[1] == "single" else DOUBLE).items()}
    return (f"{start}.{known.get(inner, inner)}.{kind}",)


def shape_of(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return what Flux2.denoiser_shape reads of a configuration, from a transformer's tensors, its prefix cut off."""
    shapes = {target: tensor.shape for name, tensor in tensors.items() for target in targets(name)}
    head = shapes["single_transformer_blocks.0.attn.norm_q.weight"][0]
    width, joint = shapes["context_embedder.weight"]
    return width // head, head, _count(shapes, "transformer_blocks"), _count(shapes, "single_transformer_blocks"), joint


def _count(names: Mapping[str, object], start: str) -> int:
    return len({match[1] for name in names if (match := re.match(rf"{start}\.(\d+)\.", name))})


def expected(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return every weight of a transformer of this configuration with its shape, by diffusers' names."""
    head = config["attention_head_dim"]
    width, time = config["num_attention_heads"] * head, config.get("timestep_guidance_channels", 256)
    inner = int(width * config.get("mlp_ratio", 3.0))
    patch = config["in_channels"]
    found: dict[str, tuple[int, ...]] = {
        "x_embedder.weight": (width, patch),
        "context_embedder.weight": (width, config["joint_attention_dim"]),
        "time_guidance_embed.timestep_embedder.linear_1.weight": (width, time),
        "time_guidance_embed.timestep_embedder.linear_2.weight": (width, width),
        "double_stream_modulation_img.linear.weight": (6 * width, width),
        "double_stream_modulation_txt.linear.weight": (6 * width, width),
        "single_stream_modulation.linear.weight": (3 * width, width),
        "norm_out.linear.weight": (2 * width, width),
        "proj_out.weight": (config.get("patch_size", 1) ** 2 * (config.get("out_channels") or patch), width),
    }
    for index in range(config["num_layers"]):
        block, square = f"transformer_blocks.{index}", (width, width)
        for layer in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
            found[f"{block}.attn.{layer}.weight"] = square
        for norm in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            found[f"{block}.attn.{norm}.weight"] = (head,)
        for part in ("ff", "ff_context"):
            found[f"{block}.{part}.linear_in.weight"] = (2 * inner, width)
            found[f"{block}.{part}.linear_out.weight"] = (width, inner)
    for index in range(config["num_single_layers"]):
        attention = f"single_transformer_blocks.{index}.attn"
        found[f"{attention}.to_qkv_mlp_proj.weight"] = (3 * width + 2 * inner, width)
        found[f"{attention}.to_out.weight"] = (width, width + inner)
        found |= {f"{attention}.norm_q.weight": (head,), f"{attention}.norm_k.weight": (head,)}
    return found
