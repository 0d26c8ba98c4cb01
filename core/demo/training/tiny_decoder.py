"""Train the embedded model's tiny autoencoder: a decoder many times faster than the VAE's, for its latents, in TAESD's layout.

    python -m core.demo.training.tiny_decoder [--out FOLDER] [--minutes N | --measure SCENES]

Crops of rendered scenes are encoded by the embedded VAE. The decoder learns to draw the crop from the latents, half of them with
a little noise, as latents after few steps have; the encoder learns to give the VAE's latents. What the shipped file took is in its
own metadata.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.demo import renderer, scenes
from core.demo.training.optim import Average, Optimizers, curve
from core.demo.training.vae import to_tensor

WEIGHTS = Path(__file__).parent.parent / "weights"
FOLDER = WEIGHTS / "tiny_decoder"
SIZES = ((256, 256), (192, 192), (256, 144), (144, 256), (384, 384))  # px (width, height) of the rendered scenes
POOL, BATCH, CROP = 400, 8, 12  # scenes, crops of a step, side of a crop in latents
SCALE = 8  # px of a latent
MEASURED = 24  # held-out scenes
NOISE = 0.15  # standard deviation of what is added to half of the latents


def new_tiny() -> AutoencoderTiny:
    """Return an untrained AutoencoderTiny: 16 latent channels, 8 pixels a latent."""
    return AutoencoderTiny(
        latent_channels=16,
        encoder_block_out_channels=(16, 16, 16, 16),
        num_encoder_blocks=(1, 1, 1, 1),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_decoder_blocks=(3, 3, 2, 0),
    )


@torch.no_grad()
def normalised(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Return the latents of images (n, 3, h, w) of -1 to 1 as the transformer sees them, (n, 16, h / 8, w / 8)."""
    mean = vae.encode(images).latent_dist.mode()
    return (mean - vae.config.shift_factor) * vae.config.scaling_factor


class Pool:
    """Scenes and their latents; random crops of both."""

    def __init__(self, vae: AutoencoderKL, seed: int) -> None:
        self._rng, self._kept = random.Random(seed), list[tuple[Tensor, Tensor]]()
        for number in range(POOL):
            image = to_tensor([renderer.render(scenes.sample(self._rng), *SIZES[number % len(SIZES)], self._rng)])
            self._kept.append((normalised(vae, image)[0], image[0]))

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return latents (BATCH, 16, CROP, CROP) and what they show, (BATCH, 3, 8 CROP, 8 CROP) of -1 to 1."""
        pairs = [self._crop() for _ in range(BATCH)]
        return torch.stack([latents for latents, _ in pairs]), torch.stack([image for _, image in pairs])

    def _crop(self) -> tuple[Tensor, Tensor]:
        latents, image = self._rng.choice(self._kept)
        top, left = (self._rng.randrange(side - CROP + 1) for side in latents.shape[1:])
        y, x = top * SCALE, left * SCALE
        return latents[:, top : top + CROP, left : left + CROP], image[:, y : y + CROP * SCALE, x : x + CROP * SCALE]


def loss_of(tiny: AutoencoderTiny, latents: Tensor, images: Tensor) -> Tensor:
    """Return L1 of the image and of its differences of neighbours, which keeps edges crisp, and the encoder's squared error."""
    noisy = (torch.arange(len(latents)) % 2).view(-1, 1, 1, 1) * NOISE
    error = tiny.decoder(latents + noisy * torch.randn_like(latents)) - images
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    # A crop's border lacks its surroundings, which the latents were made with.
    found = (tiny.encoder(images) - latents)[:, :, 2:-2, 2:-2].square().mean()
    return error.abs().mean() + 2 * error.square().mean() + edges + 0.1 * found


def train(minutes: float, seed: int = 11) -> tuple[AutoencoderTiny, int]:
    """Return the averaged network after `minutes` by the clock, and its steps."""
    torch.manual_seed(seed)
    tiny, pool = new_tiny(), Pool(AutoencoderKL.from_pretrained(WEIGHTS / "vae"), seed)
    optimizers, average = Optimizers(tiny, muon_lr=3e-3, adamw_lr=1e-3), Average(tiny, 0.998)
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / (60 * minutes)) < 1:
        loss = loss_of(tiny, *pool.draw())
        loss.backward()
        optimizers.step(curve(progress, warmup=0.02, hold=0.4))
        average.update(tiny)
        step += 1
        if step % 200 == 0:
            print(f"step {step} minute {minutes * progress:.1f} loss {loss.item():.4f}", flush=True)
    made: AutoencoderTiny = average.model  # type: ignore[assignment]
    return made, step


@torch.no_grad()
def measure(tiny: AutoencoderTiny, count: int, seed: int = 2026) -> dict[str, float]:
    """Return mean dB at 256 px over held-out scenes: of the tiny decoder and the VAE's against the scene, and between both."""
    vae, rng, found = AutoencoderKL.from_pretrained(WEIGHTS / "vae"), random.Random(seed), dict[str, list[float]]()
    for _ in range(count):
        image = to_tensor([renderer.render(scenes.sample(rng, held_out=True), 256, 256, rng)])
        latents = normalised(vae, image)
        full = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample.clamp(-1, 1)
        quick = tiny.decode(latents).sample.clamp(-1, 1)
        for name, one, other in (("tiny", quick, image), ("vae", full, image), ("tiny and vae", quick, full)):
            decibels = -10 * torch.log10(((one - other) / 2).square().mean()).item()
            found.setdefault(name, []).append(decibels)
    return {name: round(sum(values) / len(values), 2) for name, values in found.items()}


def save(tiny: AutoencoderTiny, folder: Path, steps: int, minutes: float, threads: int) -> None:
    """Write the folder that `AutoencoderTiny.from_pretrained` reads, in float16, with what the training took."""
    tiny.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("block_out_channels")  # which diffusers writes, and warns of when it reads it
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    file = folder / "diffusion_pytorch_model.safetensors"
    took = {"steps": steps, "minutes": minutes, "threads": threads}
    save_file(load_file(file), file, metadata={"format": "pt", "training": json.dumps(took)})


def main(argv: list[str] | None = None) -> int:
    """Train, write the folder and print its PSNR; or measure the one that is there."""
    parser = argparse.ArgumentParser(prog="python -m core.demo.training.tiny_decoder", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--minutes", type=float, default=12, help="by the clock")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", type=int, metavar="SCENES", help="train nothing; measure the files")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if not options.measure:
        made, steps = train(options.minutes)
        save(made, options.out, steps, options.minutes, options.threads)
    tiny = AutoencoderTiny.from_pretrained(options.out, torch_dtype=torch.float32)
    print(measure(tiny, options.measure or MEASURED))
    return 0


if __name__ == "__main__":
    sys.exit(main())
