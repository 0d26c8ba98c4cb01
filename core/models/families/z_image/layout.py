"""List the names that a Z-Image transformer's weights and LoRAs have in files, and which it must have.

ComfyUI's files (Comfy-Org, and GGUF files made of them) fuse queries, keys and values into one matrix and name some layers
otherwise; everything else has diffusers' names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.models.families.base import LORA_PREFIXES, Alias, LoraNames, LoraPart, Modules, Shape
from core.models.weight_files import Tensor

TIME_WIDTH, TIME_HIDDEN = 256, 1024  # of the time embedding, at most and inside
UNUSED = ("norm_final.weight",)  # in the publisher's own files; no released code reads it
_RENAMED = (
    (re.compile(r"^x_embedder\."), "all_x_embedder.2-1."),
    (re.compile(r"^final_layer\."), "all_final_layer.2-1."),
    (re.compile(r"\.attention\.out\."), ".attention.to_out.0."),
    (re.compile(r"\.attention\.q_norm\."), ".attention.norm_q."),
    (re.compile(r"\.attention\.k_norm\."), ".attention.norm_k."),
)
_FUSED = re.compile(r"(.*\.attention)\.qkv\.(weight|bias)$")


def targets(name: str) -> tuple[str, ...]:
    """Return diffusers' names for a stored tensor: several for one that is cut into equal parts by rows, none if unused."""
    if name in UNUSED:
        return ()
    fused = _FUSED.match(name)
    if fused is not None:
        return tuple(f"{fused[1]}.to_{part}.{fused[2]}" for part in "qkv")
    for pattern, new in _RENAMED:
        name = pattern.sub(new, name)
    return (name,)


def converted(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield (diffusers' name, stored name, shape) for the tensors of a transformer, its prefix cut off."""
    for name, tensor in tensors.items():
        found = targets(name)
        for target in found:
            rows = tensor.shape[0] // len(found) if tensor.shape else 0
            yield target, name, (rows, *tensor.shape[1:]) if len(found) > 1 else tensor.shape


def config_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return what the tensors tell of the transformer's shape: dim, cap_feat_dim, n_layers, n_refiner_layers."""
    caption = tensors["cap_embedder.1.weight"].shape
    return {
        "dim": caption[0],
        "cap_feat_dim": caption[1],
        "n_layers": _count(tensors, "layers"),
        "n_refiner_layers": _count(tensors, "noise_refiner"),
    }


def _count(tensors: Mapping[str, Tensor], start: str) -> int:
    found = {match[1] for name in tensors if (match := re.match(rf"{start}\.(\d+)\.", name))}
    return len(found)


def expected(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return every weight of a transformer of this configuration with its shape, by diffusers' names."""
    width, caption, time = config["dim"], config["cap_feat_dim"], min(config["dim"], TIME_WIDTH)
    shapes: dict[str, tuple[int, ...]] = {
        "x_pad_token": (1, width),
        "cap_pad_token": (1, width),
        "cap_embedder.0.weight": (caption,),
        "cap_embedder.1.weight": (width, caption),
        "cap_embedder.1.bias": (width,),
        "t_embedder.mlp.0.weight": (TIME_HIDDEN, TIME_WIDTH),
        "t_embedder.mlp.0.bias": (TIME_HIDDEN,),
        "t_embedder.mlp.2.weight": (time, TIME_HIDDEN),
        "t_embedder.mlp.2.bias": (time,),
    }
    for patch, frames in zip(config["all_patch_size"], config["all_f_patch_size"], strict=True):
        pixels = patch * patch * frames * config["in_channels"]
        shapes |= {
            f"all_x_embedder.{patch}-{frames}.weight": (width, pixels),
            f"all_x_embedder.{patch}-{frames}.bias": (width,),
            f"all_final_layer.{patch}-{frames}.linear.weight": (pixels, width),
            f"all_final_layer.{patch}-{frames}.linear.bias": (pixels,),
            f"all_final_layer.{patch}-{frames}.adaLN_modulation.1.weight": (width, time),
            f"all_final_layer.{patch}-{frames}.adaLN_modulation.1.bias": (width,),
        }
    for index in range(config["n_layers"]):
        shapes |= _block(f"layers.{index}", config, modulated=True)
    for index in range(config["n_refiner_layers"]):
        shapes |= _block(f"noise_refiner.{index}", config, modulated=True)
        shapes |= _block(f"context_refiner.{index}", config, modulated=False)
    return shapes


def _block(name: str, config: Mapping[str, Any], modulated: bool) -> dict[str, tuple[int, ...]]:
    width, inner = config["dim"], int(config["dim"] / 3 * 8)
    head = width // config["n_heads"]
    shapes: dict[str, tuple[int, ...]] = {
        f"{name}.attention.to_q.weight": (width, width),
        f"{name}.attention.to_k.weight": (width, width),
        f"{name}.attention.to_v.weight": (width, width),
        f"{name}.attention.to_out.0.weight": (width, width),
        f"{name}.feed_forward.w1.weight": (inner, width),
        f"{name}.feed_forward.w2.weight": (width, inner),
        f"{name}.feed_forward.w3.weight": (inner, width),
        **{
            f"{name}.{norm}.weight": (width,)
            for norm in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2")
        },
    }
    if config.get("qk_norm", True):
        shapes |= {f"{name}.attention.norm_q.weight": (head,), f"{name}.attention.norm_k.weight": (head,)}
    if modulated:
        shapes |= {
            f"{name}.adaLN_modulation.0.weight": (4 * width, min(width, TIME_WIDTH)),
            f"{name}.adaLN_modulation.0.bias": (4 * width,),
        }
    return shapes


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


UNUSED_BY_TEXT_ENCODER = ("lm_head.weight", "rope_freqs.weight", "logit_scale", "rotary_emb.inv_freq")  # it writes no text
_BLOCK = re.compile(r"^blk\.(\d+)\.(.*)$")
_LLAMA_CPP = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_ENDS = {
    "token_embd.weight": "embed_tokens.weight",
    "output_norm.weight": "norm.weight",
    "output.weight": "lm_head.weight",
}


def plain(name: str) -> str:
    """Return a name as Qwen3Model has it, for one whose prefix has been cut off."""
    return name


def from_llama_cpp(name: str) -> str:
    """Return transformers' name for one of llama.cpp's; an unknown one as it is."""
    block = _BLOCK.match(name)
    if block is None:
        return _ENDS.get(name, name)
    kind, _, ending = block[2].rpartition(".")
    return f"layers.{block[1]}.{_LLAMA_CPP.get(kind, kind)}.{ending}"


def expected_text_encoder(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return every weight of a Qwen3Model of this configuration with its shape."""
    width, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (config["vocab_size"], width), "norm.weight": (width,)}
    for index in range(config["num_hidden_layers"]):
        layer = f"layers.{index}"
        shapes |= {
            f"{layer}.self_attn.q_proj.weight": (queries, width),
            f"{layer}.self_attn.k_proj.weight": (keys, width),
            f"{layer}.self_attn.v_proj.weight": (keys, width),
            f"{layer}.self_attn.o_proj.weight": (width, queries),
            f"{layer}.self_attn.q_norm.weight": (head,),
            f"{layer}.self_attn.k_norm.weight": (head,),
            f"{layer}.mlp.gate_proj.weight": (inner, width),
            f"{layer}.mlp.up_proj.weight": (inner, width),
            f"{layer}.mlp.down_proj.weight": (width, inner),
            f"{layer}.input_layernorm.weight": (width,),
            f"{layer}.post_attention_layernorm.weight": (width,),
        }
    return shapes
