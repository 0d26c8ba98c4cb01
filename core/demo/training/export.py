"""Write what was trained as an ordinary diffusers folder, and the projection that previews unfinished images."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from safetensors.torch import save_file
from torch import Tensor

from core.demo import renderer, scenes
from core.demo.training import latents
from core.demo.training.diffusion import load_text
from core.demo.training.vae import to_tensor

WEIGHTS = Path(__file__).parents[1] / "weights"


def export(out: Path, transformer: ZImageTransformer2DModel, target: Path = WEIGHTS) -> None:
    """Write the folder beside `target` and swap it in, so that a reader never sees half of one.

    Weights are kept in fp16: on this small model it rounds eight times finer than bf16, and none of them is large.
    """
    stats = json.loads((out / "latent_stats.json").read_text(encoding="utf-8"))
    vae = latents.load_vae(out)
    vae.register_to_config(scaling_factor=stats["scale"], shift_factor=stats["shift"])
    tokenizer, encoder = load_text(out)
    copy = ZImageTransformer2DModel.from_config(transformer.config)
    copy.load_state_dict(transformer.state_dict())
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=False),
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        transformer=copy,
    )
    projection = preview_projection(vae, stats)
    pipeline.to(torch.float16)
    fresh, old = target.with_name(target.name + ".new"), target.with_name(target.name + ".old")
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(fresh, safe_serialization=True, max_shard_size="1GB")
    save_file(projection, fresh / "preview.safetensors")
    load_in_full(fresh / "text_encoder" / "config.json")
    if target.exists():
        os.rename(target, old)
    os.rename(fresh, target)
    shutil.rmtree(old, ignore_errors=True)


def load_in_full(config: Path) -> None:
    """Have the parts loaded in fp32.

    Where no dtype is asked for, diffusers loads its parts in fp32, but transformers in the dtype of the config.
    """
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(settings | {"dtype": "float32"}, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def preview_projection(
    vae: AutoencoderKL, stats: dict[str, float], count: int = 48, seed: int = 66
) -> dict[str, Tensor]:
    """Fit, by least squares, normalised latents of 16 channels to the mean colour (0 to 1) of their 8x8 pixels."""
    rng = random.Random(seed)
    rows, colors = [], []
    for _ in range(count):
        image = to_tensor([renderer.render(scenes.sample(rng), 256, 256, rng)])
        latent = (vae.encoder(image)[:, :16] - stats["shift"]) * stats["scale"]
        rows.append(latent.permute(0, 2, 3, 1).reshape(-1, 16))
        pooled = torch.nn.functional.avg_pool2d(image / 2 + 0.5, 8)
        colors.append(pooled.permute(0, 2, 3, 1).reshape(-1, 3))
    known = torch.cat(rows)
    known = torch.cat([known, torch.ones(len(known), 1)], 1)
    solution = torch.linalg.lstsq(known, torch.cat(colors)).solution
    return {"weight": solution[:16].contiguous(), "bias": solution[16].contiguous()}
