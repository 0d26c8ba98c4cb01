"""A VAE of one's own for SD 1.5 and SDXL: in each layout it is published in, the image is that of plain diffusers with it."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file

from core.config.loader import PROJECT_ROOT
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.model_paths import ModelPaths
from tests.models import originals, tiny_models

KINDS = {
    "sd": (tiny_models.stable_diffusion, StableDiffusionPipeline),
    "sdxl": (tiny_models.stable_diffusion_xl, StableDiffusionXLPipeline),
}
LAYOUTS = ("folder", "diffusers.safetensors", "original.safetensors")


@pytest.fixture(scope="module", params=KINDS)
def toy(request, tmp_path_factory):
    """A generator whose catalogue has the model with another VAE in each layout, and what plain diffusers makes with that VAE."""
    build, kind = KINDS[request.param]
    box = tmp_path_factory.mktemp(request.param)
    folder = build(box / "toy")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        for weight in vae.parameters():
            weight.mul_(1.05)
    vae.save_pretrained(box / "folder")
    weights = {name: tensor.contiguous() for name, tensor in vae.state_dict().items()}
    save_file(weights, box / "diffusers.safetensors")
    named = {
        name.removeprefix("first_stage_model."): tensor
        for name, tensor in originals.original({"vae": weights}, 2, False).items()
    }
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, box / "original.safetensors")
    shutil.copytree(PROJECT_ROOT / "configs", box / "configs")
    for layout in LAYOUTS:
        entry = f"id: {layout.partition('.')[0]}-vae\npath: {folder}\nparts: {{vae: {box / layout}}}\n"
        (box / "configs" / "models" / f"{layout}.yaml").write_text(entry)
    pipeline = kind.from_pretrained(folder, vae=vae, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        prompt="a red house", negative_prompt="grey", width=64, height=64, num_inference_steps=2, guidance_scale=5.0,
        generator=torch.Generator().manual_seed(42),
    ).images[0]  # fmt: skip
    return SimpleNamespace(own=Generator(Catalog(box / "configs", ModelPaths(box))), expected=np.asarray(image))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.by_default("sd-original.safetensors", "sdxl-folder")
def test_own_vae_equals_plain_diffusers(toy, request_of, layout: str) -> None:
    given = {"width": 64, "height": 64, "num_inference_steps": 2, "cfg_scale": 5.0, "seed": 42}
    request = request_of(model=f"{layout.partition('.')[0]}-vae", prompt="a red house", negative_prompt="grey", **given)
    assert np.array_equal(np.asarray(toy.own.generate(request).images[0].image), toy.expected)
