"""List the names of the layers of SD 1.5 and SDXL in published LoRAs: of the U-Net in both schemes, and of CLIP."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from core.models.families.base import LORA_PREFIXES, Alias, LoraNames, LoraPart, Modules

# -- the U-Net ---------------------------------------------------------------------------------------------------------

_RESNET = (
    ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"),
)  # fmt: skip
_UNET_ENDS = (
    ("conv_in", "input_blocks.0.0"), ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"), ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"), ("conv_norm_out", "out.0"), ("conv_out", "out.2"),
)  # fmt: skip


def unet_pairs(blocks: int, layers: int) -> list[tuple[str, str]]:
    """Return (diffusers' beginning of a name, the original one) for a U-Net of so many blocks and layers per block."""
    pairs = list(_UNET_ENDS)

    def add_resnet(own: str, original: str) -> None:
        pairs.extend((f"{own}.{ours}", f"{original}.{theirs}") for ours, theirs in _RESNET)

    for block in range(blocks):
        for layer in range(layers):
            place = 1 + block * (layers + 1) + layer
            add_resnet(f"down_blocks.{block}.resnets.{layer}", f"input_blocks.{place}.0")
            pairs.append((f"down_blocks.{block}.attentions.{layer}", f"input_blocks.{place}.1"))
        pairs.append((f"down_blocks.{block}.downsamplers.0.conv", f"input_blocks.{(block + 1) * (layers + 1)}.0.op"))
        for layer in range(layers + 1):
            place = block * (layers + 1) + layer
            add_resnet(f"up_blocks.{block}.resnets.{layer}", f"output_blocks.{place}.0")
            pairs.append((f"up_blocks.{block}.attentions.{layer}", f"output_blocks.{place}.1"))
        last = block * (layers + 1) + layers
        upsampler = f"up_blocks.{block}.upsamplers.0.conv"
        pairs += [(upsampler, f"output_blocks.{last}.1.conv"), (upsampler, f"output_blocks.{last}.2.conv")]
    add_resnet("mid_block.resnets.0", "middle_block.0")
    pairs.append(("mid_block.attentions.0", "middle_block.1"))
    add_resnet("mid_block.resnets.1", "middle_block.2")
    return pairs


def _numbers(modules: Modules, pattern: str) -> set[int]:
    return {int(found[1]) for name in modules if (found := re.match(pattern, name))}


def _renamed(name: str, pairs: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield the name with its longest listed beginning replaced, once for each replacement."""
    begin = name
    while begin:
        if begin in pairs:
            yield from (other + name[len(begin) :] for other in pairs[begin])
            return
        begin = begin.rpartition(".")[0]


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for own, other in pairs:
        found.setdefault(own, []).append(other)
    return found


def _unet_aliases(modules: Modules) -> Iterator[Alias]:
    blocks = len(_numbers(modules, r"down_blocks\.(\d+)\."))
    layers = len(_numbers(modules, r"down_blocks\.0\.resnets\.(\d+)\."))
    pairs = _grouped(unet_pairs(blocks, layers))
    for name in modules:
        yield Alias(name, name)
        for original in _renamed(name, pairs):
            yield Alias(original, name)
        if name.endswith(".to_out.0"):
            yield Alias(name.removesuffix(".0"), name)


def _unet_plain(modules: Modules) -> Modules:
    bare = {re.sub(r"^(model\.)?diffusion_model\.", "", name): shape for name, shape in modules.items()}
    places = _numbers(bare, r"input_blocks\.(\d+)\.")
    if not places:
        return bare
    halved = sorted(_numbers(bare, r"input_blocks\.(\d+)\.0\.op$"))
    layers = halved[0] - 1 if halved else max(places)
    pairs = _grouped([(original, own) for own, original in unet_pairs(-(-len(places) // (layers + 1)), layers)])
    return {next(_renamed(name, pairs), name): shape for name, shape in bare.items()}


# -- text encoders -----------------------------------------------------------------------------------------------------

_CLIP_OLD = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}  # of early diffusers
_OPEN_CLIP = (
    (".self_attn.out_proj", ".attn.out_proj"),
    (".mlp.fc1", ".mlp.c_fc"),
    (".mlp.fc2", ".mlp.c_proj"),
)


def _clip_aliases(modules: Modules) -> Iterator[Alias]:
    for name, shape in modules.items():
        bare = name.removeprefix("text_model.")
        block, _, last = bare.rpartition(".")
        layer = bare.replace("encoder.layers.", "transformer.resblocks.")
        names = [bare]
        if last in _CLIP_OLD:
            names.append(f"{block}.{_CLIP_OLD[last]}")
        names += [layer.replace(own, original) for own, original in _OPEN_CLIP if layer.endswith(own)]
        for one in names:
            yield Alias(one, name)
            yield Alias(f"text_model.{one}", name)
        if last in ("q_proj", "k_proj", "v_proj"):
            place = ("q_proj", "k_proj", "v_proj").index(last)
            rows = (place * shape[0], (place + 1) * shape[0])
            yield Alias(f"{layer.rpartition('.self_attn.')[0]}.attn.in_proj", name, rows)


def _clip_plain(modules: Modules) -> Modules:
    return {re.sub(r"^(cond_stage_model\.transformer|conditioner\.embedders\.0\.transformer)\.", "", name): shape
            for name, shape in modules.items()}  # fmt: skip


# -- the table ---------------------------------------------------------------------------------------------------------

_PEFT = r"base_model\.model\."
_CLIP_L = (
    _PEFT, r"text_encoder(_1)?\.", r"text_encoders\.clip_l\.(transformer\.)?", r"clip_l\.(transformer\.)?", r"lora_te1?_+",
    r"lycoris_te1?_", r"te1?\.", r"cond_stage_model\.(transformer\.)?", r"conditioner\.embedders\.0\.(transformer\.)?",
)  # fmt: skip
_CLIP_G = (
    _PEFT, r"text_encoder_2\.", r"text_encoders\.clip_g\.(transformer\.)?", r"clip_g\.(transformer\.)?", r"lora_te2_+",
    r"lycoris_te2_", r"te2\.", r"conditioner\.embedders\.1\.(model\.)?",
)  # fmt: skip
LORA_SD15 = LoraNames(
    kind="unet",
    label="SD 1.5 or SDXL",
    layers=re.compile(r"(down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)_"),
    width=re.compile(r"attn2_to_[kv]$"),
    parts=(
        LoraPart("unet", LORA_PREFIXES, _unet_aliases, _unet_plain),
        LoraPart("text_encoder", _CLIP_L, _clip_aliases, _clip_plain),
    ),
    labels={768: "SD 1.5", 2048: "SDXL"},
    text_layers=re.compile(r"(clip_[lg]_)?(transformer_)?(text_model_)?encoder_layers_\d+_(self_attn|mlp)_"),
)
LORA_SDXL = replace(
    LORA_SD15, parts=(*LORA_SD15.parts, LoraPart("text_encoder_2", _CLIP_G, _clip_aliases, _clip_plain))
)
