"""List the names of FLUX.2's layers in published LoRAs: diffusers' own, and the original ones with fused `qkv`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.models.families.base import LORA_PREFIXES, Alias, LoraNames, LoraPart, Modules, Shape

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
_BLOCK = re.compile(r"(single_)?transformer_blocks\.(\d+)\.(.+)$")
_ORIGINAL = re.compile(r"(single|double)_blocks\.(\d+)\.(.+)$")


def _aliases(modules: Modules) -> Iterator[Alias]:
    for name, shape in modules.items():
        yield Alias(name, name)
        if name in OUTER:
            yield Alias(OUTER[name], name)
        block = _BLOCK.match(name)
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
