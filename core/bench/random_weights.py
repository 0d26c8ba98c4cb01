"""Make a model of a known architecture with random weights, to measure speed without the real ones.

Its folder holds true configurations, and weight files that say every shape and hold no data (they are sparse: a few
kilobytes on disk). So all of the studio's loading is the real one, but for the weights: these are random, made on the device.
"""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import AutoTokenizer, Qwen3Config, Qwen3Model

from core.config.loader import PROJECT_ROOT
from core.types import ModelInfo

DEMO = PROJECT_ROOT / "core" / "demo" / "weights"
AXES = {"axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512]}
VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 16,
    "sample_size": 1024,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
Shape = Mapping[str, Mapping[str, Any]]

FULL: Shape = {  # Z-Image-Turbo: 6.15 billion parameters, Qwen3-4B, the autoencoder of FLUX
    "transformer": {"dim": 3840, "n_layers": 30, "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30, **AXES},
    "text_encoder": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
    },
    "vae": {**VAE, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2},
}
SCALED: Shape = {  # the same kinds of layers, small enough for a CPU
    "transformer": {"dim": 384, "n_layers": 4, "n_refiner_layers": 1, "n_heads": 3, "n_kv_heads": 3, **AXES},
    "text_encoder": {
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 4096,
    },
    "vae": {**VAE, "block_out_channels": [32, 64, 64, 64], "layers_per_block": 1},
}


def write_folder(folder: Path, shape: Shape) -> None:
    """Write a complete model folder of these shapes, without data in its weights."""
    for name in ("scheduler", "tokenizer"):
        shutil.copytree(DEMO / name, folder / name)
    shutil.copy(DEMO / "model_index.json", folder)
    with torch.device("meta"):
        modules = _modules(shape)
    for name, module in modules.items():
        (folder / name).mkdir()
        if name == "text_encoder":
            module.config.save_pretrained(folder / name)
        else:
            module.save_config(folder / name)
        file = "model.safetensors" if name == "text_encoder" else "diffusion_pytorch_model.safetensors"
        _write_shapes(folder / name / file, module)


def _modules(shape: Shape) -> dict[str, Any]:
    """Return the three networks, on whatever device and in whatever dtype is the present default."""
    text = Qwen3Config(tie_word_embeddings=True, **shape["text_encoder"])
    features = shape["text_encoder"]["hidden_size"]
    return {
        "text_encoder": Qwen3Model(text),
        "transformer": ZImageTransformer2DModel(cap_feat_dim=features, **shape["transformer"]),
        "vae": AutoencoderKL(**shape["vae"]),
    }


def _write_shapes(file: Path, module: torch.nn.Module) -> None:
    """Write a safetensors file with a header for bfloat16 tensors, and a hole where they would be."""
    header, end = {}, 0
    for name, tensor in module.state_dict().items():
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [end, end + 2 * tensor.numel()]}
        end += 2 * tensor.numel()
    words = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(words)) + words)
        stream.truncate(8 + len(words) + end)


def read_random(shape: Shape, device: str, info: ModelInfo, dtypes: Mapping[str, torch.dtype]) -> Any:
    """Replace the loader's reading: the pipeline with random weights, made on the device from a fixed seed."""
    torch.manual_seed(0)
    folder, before = Path(info.path or ""), torch.get_default_dtype()
    torch.set_default_dtype(dtypes["transformer"])
    try:
        with torch.device(device):
            modules = _modules(shape)
    finally:
        torch.set_default_dtype(before)
    for token in (modules["transformer"].x_pad_token, modules["transformer"].cap_pad_token):
        torch.nn.init.normal_(token, std=0.02)
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"),
        **{name: module.eval().requires_grad_(False) for name, module in modules.items()},
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.to(dtypes["vae"])
    pipeline.text_encoder.to(dtypes["text_encoder"])
    return pipeline


def matmul_peak(device: str, dtype: torch.dtype) -> float:
    """Return FLOP/s of this device for one large matrix product, the best of five."""
    side = 8192 if device == "cuda" else 1024
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best
