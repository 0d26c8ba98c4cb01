"""A diffusers folder as one file in the layout of its first authors, as A1111 saves it: the way back of what diffusers reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Weights = Mapping[str, torch.Tensor]
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
Named = Iterator[tuple[str, torch.Tensor]]

_RESNET = (
    ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"), ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"),
)  # fmt: skip
_UNET_ENDS = (
    ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"), ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"), ("conv_out", "out.2"), ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
)  # fmt: skip
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = (
    (".self_attn.out_proj.", ".attn.out_proj."), (".layer_norm1.", ".ln_1."), (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."), (".mlp.fc2.", ".mlp.c_proj."),
)  # fmt: skip


def one_file(folder: Path, file: Path, without: tuple[str, ...] = (), **marks: torch.Tensor) -> Path:
    """Write the weights of a folder of SD or SDXL into one file, but the parts `without`; `marks` are more tensors."""
    layers = json.loads((folder / "unet" / "config.json").read_text())["layers_per_block"]
    parts = [part for part in PARTS if part not in without and (folder / part).is_dir()]
    weights = {part: load_file(next((folder / part).glob("*.safetensors"))) for part in parts}
    xl = (folder / "text_encoder_2").is_dir()
    found = {name: tensor.contiguous() for name, tensor in original(weights, layers, xl).items()}
    save_file({**found, **marks}, file)
    return file


def original(weights: Mapping[str, Weights], layers: int, xl: bool) -> dict[str, torch.Tensor]:
    """Return the tensors of all these parts by their first names."""
    begins = {
        "unet": ("model.diffusion_model.", lambda part: _unet(part, layers)),
        "vae": ("first_stage_model.", _vae),
        "text_encoder": (f"{'conditioner.embedders.0' if xl else 'cond_stage_model'}.transformer.text_model.", _clip),
        "text_encoder_2": ("conditioner.embedders.1.model.", _open_clip),
    }
    named = {part: begins[part][1](tensors) for part, tensors in weights.items()}
    return {begins[part][0] + name: tensor for part, pairs in named.items() for name, tensor in pairs}


def _unet(weights: Weights, layers: int) -> Named:
    for name, tensor in weights.items():
        yield _unet_name(name, layers), tensor


def _unet_name(name: str, layers: int) -> str:
    for new, old in _UNET_ENDS:
        if name.startswith(f"{new}."):
            return name.replace(new, old, 1)
    found = re.match(r"(down|up|mid)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.*)", name)
    assert found is not None, name
    way, block, kind, layer, rest = found[1], int(found[2] or 0), found[3], int(found[4]), found[5]
    if kind == "resnets":
        for new, old in _RESNET:
            rest = re.sub(rf"^{new}\.", f"{old}.", rest)
    if way == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * layer}.{rest}"
    place = block * (layers + 1) + (layer if kind in ("resnets", "attentions") else layers)
    if way == "down":
        place += 1
        rest = rest.replace("conv.", "op.", 1) if kind == "downsamplers" else rest
        return f"input_blocks.{place}.{1 if kind == 'attentions' else 0}.{rest}"
    return f"output_blocks.{place}.{ {'resnets': 0, 'attentions': 1}.get(kind, 2 if block == 0 else 1) }.{rest}"


def _vae(weights: Weights) -> Named:
    blocks = len({name.split(".")[2] for name in weights if name.startswith("decoder.up_blocks.")})
    for name, tensor in weights.items():
        old = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        old = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", old)
        old = re.sub(r"up_blocks\.(\d+)\.resnets", lambda found: f"up.{blocks - 1 - int(found[1])}.block", old)
        old = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda found: f"up.{blocks - 1 - int(found[1])}.upsample", old)
        old = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", old)
        old = old.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        attention = re.match(r"(.*)mid_block\.attentions\.0\.(.*)\.(weight|bias)$", old)
        if attention is not None:
            old = f"{attention[1]}mid.attn_1.{_VAE_ATTENTION[attention[2]]}.{attention[3]}"
            tensor = tensor[..., None, None] if tensor.ndim == 2 else tensor  # they were convolutions
        yield old, tensor


def _clip(weights: Weights) -> Named:
    for name, tensor in weights.items():
        yield name.removeprefix("text_model."), tensor


def _open_clip(weights: Weights) -> Named:
    plain = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    yield "text_projection", plain.pop("text_projection.weight").T
    for kind in ("weight", "bias"):  # one matrix for all three
        for name in [name for name in plain if name.endswith(f".q_proj.{kind}")]:
            parts = [plain.pop(name.replace(".q_proj.", f".{one}_proj.")) for one in "qkv"]
            stem = name.removeprefix("encoder.layers.").removesuffix(f".self_attn.q_proj.{kind}")
            yield f"transformer.resblocks.{stem}.attn.in_proj_{kind}", torch.cat(parts)
    for name, tensor in plain.items():
        old = name.replace("encoder.layers.", "transformer.resblocks.")
        for new, original in _OPEN_CLIP:
            old = old.replace(new, original)
        old = old.replace("embeddings.position_embedding.weight", "positional_embedding")
        old = old.replace("embeddings.token_embedding", "token_embedding").replace("final_layer_norm", "ln_final")
        yield old, tensor
