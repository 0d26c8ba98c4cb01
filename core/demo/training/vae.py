"""Train the autoencoder on crops of rendered scenes, and measure the latents that the transformer will see."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from core.demo import renderer, scenes
from core.demo.training.optim import Average, Optimizers, curve, load_checkpoint, save_checkpoint

SIZES = ((256, 256),) * 6 + ((384, 256), (256, 384), (384, 384), (512, 512), (128, 128), (160, 96))
CROP, BATCH = 128, 8


def new_vae() -> AutoencoderKL:
    """Return an untrained AutoencoderKL with FLUX's layout: 16 latent channels, 8 pixels a latent."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 64, 96, 128),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=16,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=512,
    )


def render_many(job: tuple[int, int, tuple[tuple[int, int], ...]]) -> list[np.ndarray]:
    """Return a worker's share of a pool: `count` scenes, sizes in turn, none of the held-out combinations."""
    seed, count, sizes = job
    rng = random.Random(seed)
    return [np.asarray(renderer.render(scenes.sample(rng), *sizes[i % len(sizes)], rng)) for i in range(count)]


def render_pool(seed: int, count: int, sizes: tuple[tuple[int, int], ...] = SIZES, workers: int = 2) -> list[np.ndarray]:
    """Render `count` scenes in turn at `sizes`, in several processes."""
    with ProcessPoolExecutor(workers) as pool:
        shares = pool.map(render_many, [(seed + w, count // workers, sizes) for w in range(workers)])
    return [image for share in shares for image in share]


def to_tensor(images: Sequence[np.ndarray | Image.Image]) -> Tensor:
    """Return images of one size to what the autoencoder takes: -1 to 1, channels first."""
    return torch.from_numpy(np.stack([np.asarray(p) for p in images])).permute(0, 3, 1, 2).float() / 127.5 - 1


def crops(pool: list[np.ndarray], size: int, count: int, rng: random.Random) -> Tensor:
    """Return random square crops of the pool's images, (count, 3, size, size), -1 to 1."""
    selected: list[np.ndarray] = []
    while len(selected) < count:
        image = rng.choice(pool)
        height, width = image.shape[:2]
        if min(height, width) < size:
            continue
        y, x = rng.randrange(height - size + 1), rng.randrange(width - size + 1)
        selected.append(image[y : y + size, x : x + size])
    return to_tensor(selected).contiguous()


def loss_of(vae: AutoencoderKL, images: Tensor, noise: Tensor) -> Tensor:
    """Return L1 plus squared error, plus L1 on the differences of neighbours, which keeps edges crisp.

    Half of the batch is decoded from a sample of the posterior: the decoder must bear the small errors of sampling.
    """
    moments = vae.encoder(images).float()
    mean, logvar = moments.chunk(2, 1)
    logvar = logvar.clamp(-20, 5)
    half = (torch.arange(len(mean)) % 2).view(-1, 1, 1, 1)
    output = vae.decoder(mean + half * torch.exp(0.5 * logvar) * noise).float()
    error = output - images
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return error.abs().mean() + 2.0 * error.square().mean() + 1.0 * edges + 1e-5 * kl


@torch.no_grad()
def psnr(vae: AutoencoderKL, count: int = 24, size: tuple[int, int] = (256, 256), seed: int = 77_000) -> float:
    """Return mean dB over fresh whole images, from the posterior's mean, in fp32."""
    values = []
    for image in render_many((seed, count, (size,))):
        x = to_tensor([image])
        y = vae.decoder(vae.encoder(x)[:, :16]).clamp(-1, 1)
        values.append(-10 * torch.log10(((x - y) / 2).square().mean()).item())
    return sum(values) / len(values)


def train(out: Path, minutes: float, seed: int = 1) -> None:
    """Train for `minutes` by the clock, earlier calls included, saving to `out`/vae.pt meanwhile."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    checkpoint = out / "vae.pt"
    vae = new_vae()
    used, step = 0.0, 0
    optimizers, average = Optimizers(vae, muon_lr=2e-3, adamw_lr=2e-3), Average(vae, 0.998)
    if checkpoint.exists():
        used, step = load_checkpoint(checkpoint, vae, average, optimizers)
    pool = render_pool(seed + 100 + step, 2000)
    began = time.monotonic() - used
    while (seconds := time.monotonic() - began) < minutes * 60:
        progress = seconds / (minutes * 60)
        # GroupNorm sees other statistics in a crop than in a whole image: the last part sees whole ones.
        size, count = (CROP, BATCH) if progress < 0.75 else (256, BATCH // 4)
        images = crops(pool, size, count, rng)
        noise = torch.randn(count, 16, size // 8, size // 8)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(vae, images, noise)
        loss.backward()
        optimizers.step(curve(progress, warmup=0.02, hold=0.3))
        average.update(vae)
        step += 1
        if step % 50 == 0:
            print(f"vae step {step} minute {seconds / 60:.1f} loss {loss.item():.4f}", flush=True)
        if step % 300 == 0:
            print(f"vae step {step} average {psnr(average.model, 8):.2f} dB", flush=True)
            save_checkpoint(checkpoint, vae, average, optimizers, seconds, step)
    save_checkpoint(checkpoint, vae, average, optimizers, minutes * 60, step)
    print(f"vae done: {step} steps, {psnr(average.model):.2f} dB on fresh 256x256", flush=True)
