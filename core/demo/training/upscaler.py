"""Train the embedded upscalers on rendered scenes and their reductions, and measure them on held-out scenes.

    python -m core.demo.training.upscaler [--out FOLDER] [--minutes N | --measure SCENES]

A pair is a crop of a scene rendered at the large size and the same crop reduced by one of several filters, so that both lie exactly
over each other. A part of the crops is noise with the spectrum of photos (amplitude 1 / frequency): without it the network would
know no texture. x4 begins with the layers of x2. What the shipped files took is in their own metadata.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from core.demo import compact_upscaler, renderer, scenes
from core.demo.compact_upscaler import CompactUpscaler
from core.demo.training.optim import Average, Optimizers, curve

SIDES = (256, 320, 384, 512)  # px of the rendered scenes
POOL, BATCH = 240, 8
CROP = 48  # px of the small side of a pair; of x4 two thirds of it
TEXTURES = 0.15  # share of the crops
FILTERS = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.HAMMING)
SCALES = (2, 4)


def render_pool(count: int, rng: random.Random) -> list[Image.Image]:
    """Return scenes of several sizes, none of the held-out combinations."""
    return [renderer.render(scenes.sample(rng), rng.choice(SIDES), rng.choice(SIDES), rng) for _ in range(count)]


def texture(side: int, rng: np.random.Generator) -> Image.Image:
    """Return coloured noise whose amplitude falls as 1 / frequency, `side` x `side`."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) + 1 / side
    shared, own = rng.standard_normal((side, side, 1)), rng.standard_normal((side, side, 3))
    spectrum = np.fft.rfft2(shared + 0.4 * own, axes=(0, 1)) / frequency[..., None]
    noise = np.fft.irfft2(spectrum, (side, side), axes=(0, 1))
    noise = 128 + 45 * (noise - noise.mean()) / noise.std()
    return Image.fromarray(noise.round().clip(0, 255).astype(np.uint8))


class Pairs:
    """Random crops as (small, large) tensors (batch, 3, side, side), 0 to 1."""

    def __init__(self, scale: int, seed: int) -> None:
        self._scale, self._rng, self._noise = scale, random.Random(seed), np.random.default_rng(seed)
        self._pool = render_pool(POOL, self._rng)
        self._small = CROP if scale == 2 else CROP * 2 // 3

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return one batch of random crops, (small, large)."""
        pairs = [self._pair() for _ in range(BATCH)]
        return to_tensor([small for small, _ in pairs]), to_tensor([large for _, large in pairs])

    def _pair(self) -> tuple[Image.Image, Image.Image]:
        side = self._small * self._scale
        if self._rng.random() < TEXTURES:
            large = texture(side, self._noise)
        else:
            image = self._rng.choice(self._pool)
            left, top = self._rng.randrange(image.width - side + 1), self._rng.randrange(image.height - side + 1)
            large = image.crop((left, top, left + side, top + side))
            large = large.transpose(self._rng.choice(list(Image.Transpose)))
        return large.resize((self._small, self._small), self._rng.choice(FILTERS)), large


def to_tensor(images: list[Image.Image]) -> Tensor:
    """Return images of one size as (batch, 3, height, width), 0 to 1."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float() / 255


def loss_of(made: Tensor, large: Tensor) -> Tensor:
    """Return the Charbonnier loss, which for small errors is the squared one."""
    return torch.sqrt((made - large).square() + 1e-4).mean()


def train(scale: int, minutes: float, start: CompactUpscaler | None, seed: int = 5) -> tuple[CompactUpscaler, int]:
    """Return the averaged network after `minutes` by the clock, and its steps. `start` lends its first layers."""
    torch.manual_seed(seed)
    network, pairs = CompactUpscaler(scale), Pairs(scale, seed + scale)
    if start is not None:
        shared = {name: value for name, value in start.state_dict().items() if not name.startswith(LAST)}
        network.load_state_dict(shared, strict=False)
    optimizers, average = Optimizers(network, muon_lr=3e-3, adamw_lr=1e-3, by_adamw=(LAST,)), Average(network, 0.995)
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / (60 * minutes)) < 1:
        small, large = pairs.draw()
        loss = loss_of(network(small), large)
        loss.backward()
        optimizers.step(curve(progress, warmup=0.02, hold=0.4))
        average.update(network)
        step += 1
        if step % 100 == 0:
            print(f"x{scale} step {step} minute {60 * minutes * progress / 60:.1f} loss {loss.item():.4f}", flush=True)
    made: CompactUpscaler = average.model  # type: ignore[assignment]
    return made, step


LAST = f"body.{2 * compact_upscaler.LAYERS + 2}."  # the weights that depend on the scale


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """Return peak signal-to-noise ratio of two 8-bit images."""
    return float(10 * np.log10(255**2 / max(((one.astype(float) - other) ** 2).mean(), 1e-9)))


@torch.no_grad()
def measure(network: CompactUpscaler, count: int, seed: int = 2026) -> dict[str, float]:
    """Return mean dB on held-out scenes at 256 px: by Lanczos and by the network, for reduced scenes and those rendered small."""
    rng, scale, found = random.Random(seed), network.scale, dict[str, list[float]]()
    for _ in range(count):
        scene, state = scenes.sample(rng, held_out=True), rng.random()
        large = renderer.render(scene, 256, 256, random.Random(state))
        rendered = renderer.render(scene, 256 // scale, 256 // scale, random.Random(state))
        for kind, small in (("reduced", large.resize(rendered.size, Image.Resampling.BICUBIC)), ("rendered", rendered)):
            made = network(to_tensor([small]))[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255
            lanczos = np.asarray(small.resize(large.size, Image.Resampling.LANCZOS))
            found.setdefault(f"{kind}, network", []).append(decibels(made.round(), np.asarray(large)))
            found.setdefault(f"{kind}, Lanczos", []).append(decibels(lanczos, np.asarray(large)))
    return {name: round(sum(values) / len(values), 2) for name, values in found.items()}


def main(argv: list[str] | None = None) -> int:
    """Train the upscalers, print their PSNR, and write their files."""
    parser = argparse.ArgumentParser(prog="python -m core.demo.training.upscaler", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=compact_upscaler.FOLDER)
    parser.add_argument("--minutes", type=float, default=24, help="by the clock, for both scales together")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", type=int, metavar="SCENES", help="train nothing; measure the files")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.measure:
        for scale in SCALES:
            print(json.dumps({f"x{scale}": measure(compact_upscaler.load(scale, options.out), options.measure)}))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    network = None
    for scale in SCALES:
        network, steps = train(scale, options.minutes / len(SCALES), network)
        took = {"steps": steps, "minutes": options.minutes / len(SCALES), "threads": options.threads}
        weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
        file = options.out / f"compact-x{scale}.safetensors"
        save_file(weights, file, metadata={"format": "pt", "training": json.dumps(took)})
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB, {measure(network, 24)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
