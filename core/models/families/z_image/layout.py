"""List the names that a Z-Image transformer's weights have in files, and which weights it must have.

ComfyUI's files (Comfy-Org, and GGUF files made of them) fuse queries, keys and values into one matrix and name some layers
otherwise; everything else has diffusers' names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

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
