"""Make the pool of latents that the transformer is trained on: scenes encoded once, captions composed at each use."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from core.demo import renderer, scenes
from core.demo.training.vae import new_vae, render_many, to_tensor

SHARD = 250
# How many scenes of each size (width, height). Most are 256x256; a few of each ratio teach the layout.
POOL = {
    (128, 128): 2000, (160, 96): 500, (96, 160): 500,
    (256, 256): 6500,
    (192, 192): 500, (256, 144): 500, (144, 256): 500, (320, 208): 500, (208, 320): 500,
    (384, 384): 250, (512, 288): 750, (288, 512): 750, (512, 512): 1000,
}  # fmt: skip


def load_vae(out: Path) -> AutoencoderKL:
    """Return the averaged autoencoder of the last checkpoint."""
    vae = new_vae().eval()
    vae.load_state_dict(torch.load(out / "vae.pt", weights_only=True)["average"])
    return vae


@torch.no_grad()
def measure(out: Path) -> dict[str, float]:
    """Shift and scale that bring the latents to mean 0 and variance 1; kept beside the checkpoint."""
    vae = load_vae(out)
    means = [vae.encoder(to_tensor([p]))[:, :16].flatten() for p in render_many((880_000, 150, ((256, 256),)))]
    values = torch.cat(means)
    stats = {"shift": values.mean().item(), "scale": 1 / values.std().item()}
    (out / "latent_stats.json").write_text(json.dumps(stats), encoding="utf-8")
    return stats


def shard(job: tuple[str, int, int, int, int]) -> Path:
    """Return the file of a job of `jobs`."""
    folder, width, height, index, _ = job
    return Path(folder) / "latents" / f"{width}x{height}-{index}.pt"


@torch.no_grad()
def encode_shard(job: tuple[str, int, int, int, int]) -> str:
    """Draw and encode SHARD scenes of one size, and write them as one file: one worker's job."""
    folder, width, height, _, seed = job
    torch.set_num_threads(1)
    out, target = Path(folder), shard(job)
    if target.exists():
        return target.name
    vae, stats = load_vae(out), json.loads((out / "latent_stats.json").read_text(encoding="utf-8"))
    rng = random.Random(seed)
    kept, encoded, batch = [], [], max(1, 8 * 256 * 256 // (width * height))
    for first in range(0, SHARD, batch):
        selected = [scenes.sample(rng) for _ in range(min(batch, SHARD - first))]
        images = to_tensor([renderer.render(scene, width, height, rng) for scene in selected])
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encoder(images)[:, :16]
        encoded.append(((mean.float() - stats["shift"]) * stats["scale"]).half())
        kept += [list(asdict(scene).values()) for scene in selected]
    torch.save({"latents": torch.cat(encoded), "scenes": kept}, target.with_suffix(".tmp"))
    target.with_suffix(".tmp").replace(target)
    return target.name


def jobs(out: Path) -> list[tuple[str, int, int, int, int]]:
    """Return what `encode_shard` takes for each shard of the pool: folder, width, height, index, seed."""
    return [
        (str(out), width, height, index, 1_000_000 * n + index)
        for n, ((width, height), count) in enumerate(POOL.items())
        for index in range(count // SHARD)
    ]


def make(out: Path, workers: int = 2) -> None:
    """Write the whole pool under `out`/latents; existing shards are kept, so that it can be resumed."""
    (out / "latents").mkdir(parents=True, exist_ok=True)
    if not (out / "latent_stats.json").exists():
        print(measure(out), flush=True)
    todo = jobs(out)
    began = time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        for number, name in enumerate(pool.map(encode_shard, todo), 1):
            print(f"{number}/{len(todo)} {name} {time.monotonic() - began:.0f} s", flush=True)


def load(out: Path) -> dict[tuple[int, int], tuple[Tensor, list[scenes.Scene]]]:
    """Return the latents and their scenes by size."""
    found: dict[tuple[int, int], tuple[list[Tensor], list[scenes.Scene]]] = {}
    for path in sorted((out / "latents").glob("*.pt")):
        width, height = map(int, path.stem.split("-")[0].split("x"))
        shard = torch.load(path, weights_only=True)
        parts, kept = found.setdefault((width, height), ([], []))
        parts.append(shard["latents"])
        kept += [scenes.Scene(*values) for values in shard["scenes"]]
    return {size: (torch.cat(parts), kept) for size, (parts, kept) in found.items()}
