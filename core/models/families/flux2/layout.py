"""List the names that a FLUX.2 transformer's weights and LoRAs have in files, and which it must have.

The publisher's files, ComfyUI's and GGUF files made of them fuse queries, keys and values of the blocks with two streams into one
matrix, and name all layers otherwise. The modulation before the last layer has shift and scale in the other order there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.models.families.base import LORA_PREFIXES, Alias, LoraNames, LoraPart, Modules, Shape
from core.models.weight_files import Tensor

DOUBLE = {  # diffusers' segment of a block with two streams -> the original one
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
}
SINGLE = {"attn.to_qkv_mlp_proj": "linear1", "attn.to_out": "linear2"}
OUTER = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "proj_out": "final_layer.linear",
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
}
FUSED = {  # the original layer -> those of diffusers whose rows it stacks
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_LORA_BLOCK = re.compile(r"(single_)?transformer_blocks\.(\d+)\.(.+)$")
_ORIGINAL = re.compile(r"(single|double)_blocks\.(\d+)\.(.+)$")


def _aliases(modules: Modules) -> Iterator[Alias]:
    for name, shape in modules.items():
        yield Alias(name, name)
        if name in OUTER:
            yield Alias(OUTER[name], name)
        block = _LORA_BLOCK.match(name)
        if block is None:
            continue
        single, number, inner = block[1], block[2], block[3]
        original = (SINGLE if single else DOUBLE).get(inner)
        if original is not None:
            yield Alias(f"{'single' if single else 'double'}_blocks.{number}.{original}", name)
        for fused, parts in FUSED.items():
            if not single and inner in parts:
                begin = parts.index(inner) * shape[0]
                yield Alias(f"double_blocks.{number}.{fused}", name, (begin, begin + shape[0]))


def _plain(modules: Modules) -> Modules:
    found: dict[str, Shape] = {}
    outer = {original: own for own, original in OUTER.items()}
    for name, shape in modules.items():
        name = re.sub(r"^(model\.)?diffusion_model\.", "", name)
        block = _ORIGINAL.match(name)
        if block is None:
            found[outer.get(name, name)] = shape
            continue
        prefix = f"{'single_' if block[1] == 'single' else ''}transformer_blocks.{block[2]}."
        if block[3] in FUSED:
            third = (shape[0] // 3, *shape[1:])
            found |= {prefix + part: third for part in FUSED[block[3]]}
            continue
        segments = SINGLE if block[1] == "single" else DOUBLE
        own = next((own for own, original in segments.items() if original == block[3]), block[3])
        found[prefix + own] = shape
    return found


LORA = LoraNames(
    kind="flux2",
    label="FLUX.2",
    layers=re.compile(
        r"(single_transformer_blocks_\d+_attn_(to_qkv_mlp_proj|to_out)"
        r"|transformer_blocks_\d+_(attn_(to|add)_[a-z_]+|ff(_context)?_linear_(in|out))"
        r"|single_blocks_\d+_linear[12]|double_blocks_\d+_(img|txt)_(attn|mlp))"
    ),
    width=re.compile(r"_attn_(to_q|to_k|to_v|add_q_proj|qkv)$"),
    certain=re.compile(  # linear2 of FLUX.1 is wider: its feed-forward has no gate
        r"(single_transformer_blocks_\d+_attn_to_qkv_mlp_proj|transformer_blocks_\d+_ff(_context)?_linear_(in|out)"
        r"|(double|single)_stream_modulation).*|single_blocks_\d+_linear2:(12288|16384)$"
    ),
    parts=(LoraPart("transformer", LORA_PREFIXES, _aliases, _plain),),
)


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
