"""The same random Z-Image in every layout that weights are published in: single files, GGUF, folders and caches.

Each layout is a function that writes it and says what a reader must find: the truth itself, or what rounding leaves of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
from diffusers import ZImageTransformer2DModel
from safetensors.torch import load_file, save_file

from core.models.model_paths import EMBEDDED

Weights = dict[str, torch.Tensor]
Write = Callable[[Path, Path], Path]  # writes a layout of the model in the first folder into the second; returns it
F8, F8_5 = torch.float8_e4m3fn, torch.float8_e5m2
PREFIX = "model.diffusion_model."
SHAPE = {"dim": 96, "n_heads": 2, "n_kv_heads": 2, "n_layers": 2, "n_refiner_layers": 1, "axes_dims": [16, 16, 16]}
WIDE = {
    **SHAPE,
    "dim": 768,
    "n_heads": 8,
    "n_kv_heads": 8,
    "n_layers": 1,
    "axes_dims": [24, 36, 36],
}  # K-quants: 256 a block
PARTS = ("transformer", "text_encoder", "vae")


@dataclass(frozen=True)
class Layout:
    """A way in which weights are published. `write(base, out)` returns the path to read; `base` is the same model as a folder.

    `truth`: the weights that must be read, by part; those of the base where it is silent. `refused`: words of the refusal instead.
    """

    name: str
    publisher: str
    write: Callable[[Path, Path], Path]
    truth: Mapping[str, Weights] = field(default_factory=dict)
    refused: str = ""
    kind: str = "transformer"
    wide: bool = False


def build_base(folder: Path, shape: Mapping[str, object] = SHAPE) -> Path:
    """Return the embedded model's text encoder and VAE with a random transformer, in 16 bits."""
    torch.manual_seed(1)
    shutil.copytree(EMBEDDED, folder, ignore=shutil.ignore_patterns("preview.safetensors", "diffusion_pytorch_model*"))
    shutil.copy(EMBEDDED / "vae" / "diffusion_pytorch_model.safetensors", folder / "vae")
    config = json.loads((EMBEDDED / "transformer" / "config.json").read_text()) | dict(shape)
    model = ZImageTransformer2DModel.from_config({key: value for key, value in config.items() if key[0] != "_"})
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.03)
    model.to(torch.bfloat16).save_pretrained(folder / "transformer")
    return folder


def weights_of(base: Path, part: str) -> Weights:
    """Return the stored weights of a part by its class's names."""
    return load_file(next((base / part).glob("*.safetensors")))


# -- names -------------------------------------------------------------------------------------------------------------

_COMFY = (
    ("all_x_embedder.2-1.", "x_embedder."), ("all_final_layer.2-1.", "final_layer."),
    (".attention.norm_k.weight", ".attention.k_norm.weight"), (".attention.norm_q.weight", ".attention.q_norm.weight"),
    (".attention.to_out.0.", ".attention.out."),
)  # fmt: skip


def comfy(weights: Weights, prefix: str = "") -> Weights:
    """ComfyUI's names: queries, keys and values in one matrix."""
    found = {}
    for name, tensor in weights.items():
        if ".attention.to_k." in name or ".attention.to_v." in name:
            continue
        if ".attention.to_q." in name:
            tensor = torch.cat([weights[name.replace("to_q", f"to_{part}")] for part in "qkv"])
            name = name.replace("to_q", "qkv")
        for new, old in _COMFY:
            name = name.replace(new, old)
        found[prefix + name] = tensor.contiguous()
    return found


def is_matrix(name: str, tensor: torch.Tensor) -> bool:
    """Return whether a converter to 8 bits takes this tensor."""
    return tensor.dim() == 2 and tensor.numel() > 1000 and "pad_token" not in name


# -- single files ------------------------------------------------------------------------------------------------------


def single(
    name: str, change: Callable[[Weights], Weights], metadata: Mapping[str, str] | None = None
) -> Callable[[Path, Path], Path]:
    """Return a writer of one safetensors file with the transformer's weights changed."""

    def write(base: Path, out: Path) -> Path:
        made = change(weights_of(base, "transformer"))
        save_file(
            {key: value.contiguous() for key, value in made.items()}, out / name, metadata=dict(metadata or {}) or None
        )
        return out / name

    return write


def cast(
    dtype: torch.dtype, names: Callable[[Weights], Weights] = comfy, all_of_it: bool = False
) -> Callable[[Weights], Weights]:
    """Return all weights, or the matrices alone, in another format."""
    return lambda weights: {
        key: value.to(dtype) if all_of_it or is_matrix(key, value) else value for key, value in names(weights).items()
    }


def scaled(
    style: str, by: str = "tensor", dtype: torch.dtype = F8, names: Callable[[Weights], Weights] = comfy
) -> Callable[[Weights], Weights]:
    """Matrices of the blocks in 8 bits, each with a scale under the publisher's name for it."""

    def change(weights: Weights) -> Weights:
        found: Weights = {}
        for name, tensor in names(weights).items():
            if not is_matrix(name, tensor) or not name.startswith(("layers.", "noise_refiner.", "context_refiner.")):
                found[name] = tensor
                continue
            scale, small = shrink(tensor.float(), by, dtype)
            found[name] = small
            stem = name.removesuffix(".weight")
            if style == "kj":
                found[f"{stem}.scale_weight"] = scale.reshape(1) if by == "tensor" else scale
            elif style == "comfy-old":
                found |= {f"{stem}.scale_weight": scale.reshape(1), f"{stem}.scale_input": torch.ones(1)}
            elif style == "inverse":
                found[f"{stem}.weight_scale_inv"] = scale
            else:
                told = {"format": {F8: "float8_e4m3fn", F8_5: "float8_e5m2", torch.int8: "int8_tensorwise"}[dtype]}
                mark = torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8)
                found |= {f"{stem}.weight_scale": scale, f"{stem}.comfy_quant": mark}
        if style in ("kj", "comfy-old"):
            found["scaled_fp8"] = torch.zeros(0 if style == "kj" else 2, dtype=F8)
        return found

    return change


def shrink(tensor: torch.Tensor, by: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a scale, for all, each row or each block of 32 x 32, and the tensor divided by it in `dtype`."""
    top = {F8: 448.0, F8_5: 57344.0, torch.int8: 127.0}[dtype]
    if by == "tensor":
        scale = tensor.abs().max() / top
        small = tensor / scale
    elif by == "row":
        scale = tensor.abs().amax(1, keepdim=True) / top
        small = tensor / scale
    else:
        rows, columns = tensor.shape[0] // 32, tensor.shape[1] // 32
        scale = tensor.reshape(rows, 32, columns, 32).abs().amax((1, 3)) / top
        small = tensor / scale.repeat_interleave(32, 0).repeat_interleave(32, 1)
    return scale, (small.round() if dtype is torch.int8 else small).to(dtype)


def with_more(change: Callable[[Weights], Weights]) -> Callable[[Weights], Weights]:
    """ComfyUI's names and what `change` makes of them besides."""
    return lambda weights: {**comfy(weights), **change(comfy(weights))}


def beside(
    ending: str, dtype: torch.dtype = torch.float32, weight: torch.dtype | None = None
) -> Callable[[Weights], Weights]:
    """Return a tensor beside each matrix of the blocks, as another scheme has it."""

    def change(weights: Weights) -> Weights:
        names = [name for name, tensor in weights.items() if is_matrix(name, tensor) and name.startswith("layers.")]
        more = {name.removesuffix(".weight") + ending: torch.ones(1).to(dtype) for name in names}
        return more | ({name: torch.zeros(8, 8, dtype=weight) for name in names} if weight else {})

    return with_more(change)


def all_in_one(base: Path, out: Path) -> Path:
    """As ComfyUI's CheckpointSave writes it."""
    made = comfy(weights_of(base, "transformer"), PREFIX)
    made |= {
        f"text_encoders.qwen3_4b.transformer.model.{key}": value
        for key, value in weights_of(base, "text_encoder").items()
    }
    made |= {f"vae.{key}": value for key, value in weights_of(base, "vae").items()}
    made["text_encoders.qwen3_4b.logit_scale"] = torch.tensor(4.6)
    save_file(made, out / "aio.safetensors")
    return out / "aio.safetensors"


def all_in_one_as(
    name: str, encoder: str = "text_encoders.qwen3_4b.transformer.model.", vae_prefix: str = "vae.",
    vae: Callable[[Weights], Weights] = dict, change: Callable[[Weights], Weights] = comfy,
) -> Callable[[Path, Path], Path]:  # fmt: skip
    """A writer of all parts in one file, with these prefixes and the transformer changed."""

    def write(base: Path, out: Path) -> Path:
        made = {f"{PREFIX}{key}": value for key, value in change(weights_of(base, "transformer")).items()}
        made |= {f"{encoder}{key}": value for key, value in weights_of(base, "text_encoder").items()}
        made |= {f"{vae_prefix}{key}": value for key, value in vae(weights_of(base, "vae")).items()}
        save_file({key: value.contiguous() for key, value in made.items()}, out / name)
        return out / name

    return write


def scaled_encoder(style: str) -> Callable[[Weights], Weights]:
    """The matrices of the text encoder's layers in 8 bits with their scales."""

    def change(weights: Weights) -> Weights:
        found: Weights = {}
        for name, tensor in weights.items():
            key = f"model.{name}"
            if tensor.dim() != 2 or "embed" in name:
                found[key] = tensor
                continue
            scale, found[key] = shrink(tensor.float(), "tensor", F8)
            stem = key.removesuffix(".weight")
            if style == "comfy":
                mark = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
                found |= {f"{stem}.weight_scale": scale, f"{stem}.comfy_quant": mark}
            else:
                found[f"{stem}.scale_weight"] = scale.reshape(1)
        return found if style == "comfy" else {**found, "scaled_fp8": torch.zeros(2, dtype=F8)}

    return change


def old_attention(weights: Weights) -> Weights:
    """A VAE by diffusers' own names with its attention as it was before 0.15."""
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def old(name: str) -> str:
        for new, first in renamed.items():
            name = name.replace(f".attentions.0.{new}.", f".attentions.0.{first}.")
        return name

    return {old(name): tensor for name, tensor in weights.items()}


def original_vae(weights: Weights, blocks: int = 4) -> Weights:
    """Return a VAE by the names of FLUX's and Stable Diffusion's authors."""
    import re

    found = {}
    for name, tensor in weights.items():
        old = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        old = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", old)
        old = re.sub(r"up_blocks\.(\d+)\.resnets", lambda match: f"up.{blocks - 1 - int(match[1])}.block", old)
        old = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda match: f"up.{blocks - 1 - int(match[1])}.upsample", old)
        old = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", old)
        found[old.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")] = tensor
    return found


_LLAMA = (
    ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"), ("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"), ("input_layernorm", "attn_norm"), ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
)  # fmt: skip


def llama_cpp(weights: Weights) -> Weights:
    """Return a Qwen3 text encoder by llama.cpp's names."""
    found = {}
    for name, tensor in weights.items():
        for new, old in _LLAMA:
            name = name.replace(new, old)
        name = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}.get(name, name)
        found[name.replace("layers.", "blk.")] = tensor
    return found


# -- GGUF --------------------------------------------------------------------------------------------------------------

_HIGH = ("pad_token", "x_embedder", "cap_embedder", "t_embedder", "final_layer", "embd", "norm")


def write_gguf(
    file: Path, weights: Weights, quant: str, arch: str = "lumina2", high: str = "F32", flat: bool = False
) -> Weights:
    """Write matrices in `quant` and the rest in `high`; return the values that they decode to.

    `quant` may name several types, which matrices have one after the other. `flat`: pad tokens as [D].
    """
    quants = quant.split()
    writer = gguf.GGUFWriter(str(file), arch or "x")
    if not arch:
        writer.kv_data[0].clear()
    truth: Weights = {}
    for index, (name, tensor) in enumerate(weights.items()):
        values = tensor.float().numpy()
        if flat and values.ndim == 2 and values.shape[0] == 1:
            values = values.reshape(-1)
        plain = values.ndim == 1 or any(part in name for part in _HIGH)
        kind = gguf.GGMLQuantizationType[(high if values.ndim > 1 else "F32") if plain else quants[index % len(quants)]]
        made_up = kind.name in _SCALES
        data = random_blocks(values, kind) if made_up else gguf.quants.quantize(values, kind)
        truth[name] = torch.from_numpy(np.array(gguf.quants.dequantize(data, kind))).reshape(tensor.shape)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return truth


_SCALES = {  # type -> bytes of a block at which its scales (float16) begin
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,),
}  # fmt: skip


def random_blocks(values: np.ndarray, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    """Blocks with random contents and small scales, of types that gguf can decode but not make."""
    size, width = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(values.size)
    blocks = random.integers(0, 256, (values.size // size, width), dtype=np.uint8)
    scale = np.frombuffer(np.float16(0.001).tobytes(), np.uint8)
    for place in _SCALES[kind.name]:
        blocks[:, place : place + 2] = scale
    return blocks.reshape(values.shape[0], -1)


# -- folders -----------------------------------------------------------------------------------------------------------


def copied(change: Callable[[Path], None], name: str = "model") -> Callable[[Path, Path], Path]:
    """Return a writer of the folder with a change."""

    def write(base: Path, out: Path) -> Path:
        shutil.copytree(base, out / name)
        change(out / name)
        return out / name

    return write


def rename(part: str, variant: str) -> Callable[[Path], None]:
    """Give a part's weights a variant's name."""

    def change(folder: Path) -> None:
        file = next((folder / part).glob("*.safetensors"))
        file.rename(file.with_name(f"{file.stem}.{variant}.safetensors"))

    return change


def sharded(folder: Path) -> None:
    """The transformer in two files and an index."""
    model = ZImageTransformer2DModel.from_pretrained(folder / "transformer", dtype=torch.bfloat16)
    next((folder / "transformer").glob("*.safetensors")).unlink()
    model.save_pretrained(folder / "transformer", max_shard_size="400KB")


def original_vae_beside(base: Path, out: Path) -> Path:
    """Return the VAE's first names, for `parts`."""
    save_file(
        {key: value.contiguous() for key, value in original_vae(weights_of(base, "vae")).items()},
        out / "ae.safetensors",
    )
    return out / "ae.safetensors"
