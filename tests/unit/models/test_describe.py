"""What `models check` says of files and folders of every kind, by their headers alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from core.config.loader import PROJECT_ROOT
from core.models.catalog import Catalog
from core.models.describe import describe
from core.models.model_paths import EMBEDDED, ModelPaths
from tests.unit.models.headers import LORA_OF, write_header

LORA = ("lora_A.weight", "lora_B.weight")
Q = "layers.0.attention.to_q"
UNET_ENDS = {"time_embed.0.weight": [8, 8], "input_blocks.0.0.weight": [8, 4, 3, 3], "middle_block.0.in_layers.0.weight": [8],
             "out.2.weight": [4, 8, 3, 3]}  # fmt: skip
Z_ENDS = {"cap_embedder.1.weight": [96, 128], "x_pad_token": [1, 96], "layers.0.attention.qkv.weight": [288, 96]}


def vae(width: int = 16) -> dict[str, list[int]]:
    return {"decoder.conv_in.weight": [8, width, 3, 3], "encoder.conv_in.weight": [8, 3, 3, 3]}


FILES = {  # what is written -> kind, family, words of `use`
    "whole tensors of Lumina 2": (
        {"cap_embedder.1.weight": [96, 64]},
        "transformer",
        "Lumina 2",
        "no: this is another kind",
    ),
    "FLUX": (
        {"double_blocks.0.img_attn.qkv.weight": [9, 3]},
        "transformer",
        "FLUX.1",
        "no: this is another kind of model (FLUX.1)",
    ),
    "Qwen-Image": (
        {"transformer_blocks.0.img_mod.1.weight": [9, 3]},
        "transformer",
        "Qwen-Image",
        "no: this is another kind",
    ),
    "averages beside a VAE and a text encoder": (
        {
            "model_ema.diffusion_modelout2weight": [4, 8, 3, 3],
            "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": [9, 768],
            **{f"first_stage_model.{name}": shape for name, shape in vae(4).items()},
        },
        "checkpoint",
        "CLIP-L (SD 1.5)",
        "no: this file holds only the averages",
    ),
    "Wan": ({"blocks.0.self_attn.norm_q.weight": [9]}, "transformer", "Wan", "no: this is another kind"),
    "text encoder": (
        {"model.embed_tokens.weight": [9, 4], "model.layers.0.self_attn.q_norm.weight": [2]},
        "text encoder",
        "Qwen3 (4)",
        "needs: ",
    ),
    "text encoder in NVFP4": (
        {
            "model.embed_tokens.weight": [9, 4],
            "model.layers.0.self_attn.q_norm.weight": [2],
            "model.layers.0.mlp.up_proj.weight_scale_2": [1],
        },
        "text encoder",
        "Qwen3 (4)",
        "no: its weights are stored as NVFP4",
    ),
    "T5": (
        {"encoder.block.0.layer.0.SelfAttention.q.weight": [4, 4]},
        "text encoder",
        "T5",
        "no: this is a text encoder (T5)",
    ),
    "VAE": (vae(), "vae", "Z-Image or FLUX.1", "needs: this is a VAE"),
    "VAE of SD": (vae(4), "vae", "SD 1.5 or SDXL", "needs: this is a VAE"),
    "ControlNet of another family": (
        {"controlnet_x_embedder.weight": [4, 4]},
        "controlnet",
        "FLUX.1, Stable Diffusion 3 or Qwen-Image",
        "no: ",
    ),
    "IP-Adapter": ({"ip_adapter.1.to_k_ip.weight": [4, 4]}, "ip-adapter", None, "no: "),
    "upscaler": (
        {"body.0.weight": [64, 3, 3, 3]},
        "upscaler",
        "Real-ESRGAN compact",
        "yes: put it into the folder upscalers",
    ),
    "embedding": ({"emb_params": [4, 768]}, "embedding", "SD 1.5", "yes: put it into the folder embeddings"),
    "embedding of SDXL": (
        {"clip_l": [4, 768], "clip_g": [4, 1280]},
        "embedding",
        "SDXL",
        "yes: put it into the folder embeddings",
    ),
    "embedding of too many vectors": ({"emb_params": [90, 768]}, "embedding", "SD 1.5", "no: "),
    "SVDQuant": (
        Z_ENDS | {"layers.0.attention.qkv.wscales": [4]},
        "transformer",
        "Z-Image",
        "no: its weights are stored as SVDQuant",
    ),
    "NVFP4": (
        Z_ENDS | {"layers.0.attention.qkv.weight_scale_2": [1]},
        "transformer",
        "Z-Image",
        "no: its weights are stored as NVFP4",
    ),
    "SDNQ": (
        Z_ENDS | {"layers.0.attention.qkv.zero_point": [4]},
        "transformer",
        "Z-Image",
        "no: its weights are stored as SDNQ",
    ),
    "OFT": ({f"diffusion_model.{Q}.oft_blocks": [2, 2, 2]}, "lora", None, "no: its algorithm can't be read: OFT"),
    "IA3": (
        {"lora_unet_down_blocks_0.on_input": [1], "lora_unet_down_blocks_0.weight": [9]},
        "lora",
        None,
        "no: its algorithm can't be read: IA3",
    ),
    "GLoRA": ({"lora_unet_down_blocks_0.a1.weight": [2, 9]}, "lora", None, "no: its algorithm can't be read: GLoRA"),
    "full difference": ({f"diffusion_model.{Q}.diff": [240, 240]}, "lora", "Z-Image", "yes"),
    "DoRA along the inputs": (
        {
            f"transformer.{Q}.lora_A.weight": [2, 240],
            f"transformer.{Q}.lora_B.weight": [240, 2],
            f"transformer.{Q}.dora_scale": [1, 240],
        },
        "lora",
        None,
        "no: its algorithm can't be read: DoRA along the inputs",
    ),
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path_factory.mktemp("store")))


@pytest.mark.parametrize("what", FILES)
def test_file_is_called_what_it_is(what: str, catalog: Catalog, tmp_path: Path) -> None:
    tensors, kind, family, use = FILES[what]
    found = describe(write_header(tmp_path / "a file.safetensors", tensors), catalog)
    assert (found.kind, found.family) == (kind, family)
    assert found.use.startswith(use)


@pytest.mark.parametrize("family", LORA_OF)
def test_lora_of_another_family_is_named(family: str, catalog: Catalog, tmp_path: Path) -> None:
    for number, (layer, width) in enumerate(LORA_OF[family]):
        pair = {f"{layer}.{LORA[0]}": [4, width], f"{layer}.{LORA[1]}": [width, 4]}
        found = describe(write_header(tmp_path / f"{number}.safetensors", pair), catalog)
        assert (found.kind, found.family) == ("lora", family), layer
        assert found.use.startswith(f"no: it was made for {family}"), layer


STAND_INS = {
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9973693184\n",
        "git lfs pointer",
        "git lfs pull",
    ),
    "page": (b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>", "web page", "Download it again"),
    "answer": (b'{"error":"Unauthorized","message":"log in"}', "error message in JSON", "Download it again"),
    "message": (b"Entry not found", "message in place of a file", "Download it again"),
    "nothing": (b"", "empty file", "copy or download it again"),
    "zip": (b"PK\3\4" + bytes(99), "archive", "unpack it"),
    "torch.save": (b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.", "pickle", "use safetensors"),
    "cut": (struct.pack("<Q", 5000) + b'{"a', "cut file", "copy or download it again"),
}


@pytest.mark.parametrize("what", STAND_INS)
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_what_stands_for_weights_is_called_what_it_is(what: str, ending: str, catalog: Catalog, tmp_path: Path) -> None:
    content, kind, words = STAND_INS[what]
    file = tmp_path / f"model{ending}"
    file.write_bytes(content)
    found = describe(file, catalog)
    assert found.kind == kind and found.use.startswith("no: ")
    assert words in found.use


def test_one_of_several_files_is_named(catalog: Catalog, tmp_path: Path) -> None:
    file = write_header(
        tmp_path / "z-00002-of-00003.safetensors",
        {"layers.9.attention.qkv.weight": [288, 96], "cap_embedder.1.weight": [96, 64]},
    )
    assert describe(file, catalog).use.startswith("no: this is file 2 of 3")
    assert describe(tmp_path, catalog).use.startswith("no: ")


FOLDERS = {
    "a tiny VAE": ({"_class_name": "AutoencoderTiny"}, "tiny vae", "yes: put it into the folder previews"),
    "a depth estimator": (
        {"architectures": ["DepthAnythingForDepthEstimation"]},
        "depth estimator",
        "yes: put it into the folder preprocessors",
    ),
    "a text encoder": ({"architectures": ["Qwen3ForCausalLM"]}, "text encoder", "needs: the other parts"),
    "a VAE": ({"_class_name": "AutoencoderKL"}, "vae", "needs: the other parts"),
    "an image encoder": ({"architectures": ["CLIPVisionModelWithProjection"]}, "image encoder", "no: "),
    "something else": ({"architectures": ["BertModel"]}, "unknown", "no: "),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_folder_of_one_part(what: str, catalog: Catalog, tmp_path: Path) -> None:
    config, kind, use = FOLDERS[what]
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = describe(tmp_path, catalog)
    assert found.kind == kind and found.use.startswith(use)


def test_folder_names_the_file_that_it_lacks(catalog: Catalog, tmp_path: Path) -> None:
    assert "model_index.json" in describe(tmp_path, catalog).use
    assert describe(EMBEDDED, catalog).use == "yes"
