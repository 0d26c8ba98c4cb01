"""List the names of Z-Image's layers in published LoRAs: diffusers' own, the original ones with fused `qkv`, and Qwen3's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.models.families.base import LORA_PREFIXES, Alias, LoraNames, LoraPart, Modules, Shape

_SEGMENTS = (  # diffusers' segment of a name, the original one
    (".attention.to_out.0", ".attention.out"),
    ("all_x_embedder.2-1", "x_embedder"),
    ("all_final_layer.2-1", "final_layer"),
)
_QKV = ("to_q", "to_k", "to_v")


def _aliases(modules: Modules) -> Iterator[Alias]:
    for name, shape in modules.items():
        yield Alias(name, name)
        for own, original in _SEGMENTS:
            if own in name:
                yield Alias(name.replace(own, original), name)
        if name.endswith(".attention.to_out.0"):
            yield Alias(name.removesuffix(".0"), name)
        block, _, last = name.rpartition(".")
        if block.endswith(".attention") and last in _QKV:
            sizes = [modules[f"{block}.{one}"][0] for one in _QKV if f"{block}.{one}" in modules]
            begin = sum(sizes[: _QKV.index(last)])
            for fused in ("qkv", "to_qkv"):
                yield Alias(f"{block}.{fused}", name, (begin, begin + shape[0]))


def _plain(modules: Modules) -> Modules:
    found: dict[str, Shape] = {}
    for name, shape in modules.items():
        name = re.sub(r"^(model\.)?diffusion_model\.", "", name)
        if name.endswith(".attention.qkv"):
            third = (shape[0] // 3, *shape[1:])
            found |= {f"{name.removesuffix('qkv')}{one}": third for one in _QKV}
            continue
        for own, original in _SEGMENTS:
            if name.endswith(original) if original.startswith(".") else name.startswith(original):
                name = name.replace(original, own)
        found[name] = shape
    return found


def _qwen_aliases(modules: Modules) -> Iterator[Alias]:
    for name in modules:
        bare = name.removeprefix("model.")
        yield Alias(bare, name)
        yield Alias(f"model.{bare}", name)


def _same(modules: Modules) -> Modules:
    return modules


_TEXT_PREFIXES = (
    r"base_model\.model\.", r"text_encoders?\.((qwen3_4b|llm)\.)?(transformer\.)?", r"qwen3_4b\.(transformer\.)?", r"lora_te1?_+",
    r"lycoris_te_", r"te1?\.",
)  # fmt: skip
LORA = LoraNames(
    kind="transformer",
    label="Z-Image",
    layers=re.compile(r"(layers|noise_refiner|context_refiner)_\d+_(attention|feed_forward|adaLN)"),
    width=re.compile(r"_attention_(to_q|to_k|to_v|qkv|to_qkv)$"),
    parts=(
        LoraPart("transformer", LORA_PREFIXES, _aliases, _plain),
        LoraPart("text_encoder", _TEXT_PREFIXES, _qwen_aliases, _same),
    ),
)
