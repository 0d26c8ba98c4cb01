"""Classify the attributes of an image. Trained on rendered scenes only, never on the model's images.

`evaluate` asks it whether a generated image shows what its prompt named.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.demo import renderer, scenes
from core.demo.numpy_classifier import SIDE, WEIGHTS, pixels
from core.demo.training.optim import Optimizers, curve

# (width, height): its share of the rendered scenes. All are reduced to one square, where an upright image looks squat.
SIZES = {
    (256, 256): 4, (128, 128): 4, (512, 512): 2, (384, 384): 1, (512, 288): 2, (288, 512): 3, (256, 144): 2,
    (144, 256): 3, (320, 208): 2, (208, 320): 2, (160, 96): 1, (96, 160): 1,
}  # fmt: skip
SHARE, BATCH = 250, 64


class Recogniser(nn.Module):
    """Strided convolutions to an 8x8 map that keeps places, one shared layer, one head for each attribute."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 24), (24, 48), (48, 64), (64, 96)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        layers += [nn.Conv2d(96, 96, 3, 1, 1), nn.GroupNorm(8, 96), nn.SiLU(), nn.Conv2d(96, 32, 1), nn.Flatten()]
        self.trunk = nn.Sequential(*layers, nn.Linear(32 * 64, 192), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(192, len(values)) for name, values in scenes.ATTRIBUTES.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits of each attribute, (batch, values), for images (batch, 3, SIDE, SIDE)."""
        features = self.trunk(images)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, image: Image.Image) -> dict[str, str]:
        """Return the most likely value of every attribute."""
        scores = self(to_input([image]))
        return {name: values[int(scores[name].argmax())] for name, values in scenes.ATTRIBUTES.items()}


def to_input(images: list[Image.Image]) -> Tensor:
    """Return images of any size as (count, 3, SIDE, SIDE), scaled as the classifier was trained."""
    return torch.from_numpy(np.stack([pixels(image) for image in images]))


def load(path: Path = WEIGHTS) -> Recogniser:
    """Return the trained classifier, in float32."""
    model = Recogniser().eval()
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return model


def augment(images: Tensor) -> Tensor:
    """Vary position, blur, noise, brightness and contrast slightly: a model's images are less clean than rendered ones."""
    dy, dx = (int(torch.randint(-5, 6, ())) for _ in range(2))
    padded = F.pad(images, (5, 5, 5, 5), mode="replicate")
    x = padded[:, :, 5 + dy : 5 + dy + SIDE, 5 + dx : 5 + dx + SIDE]
    if torch.rand(()) < 0.5:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    gain = 1 + 0.12 * torch.randn(len(x), 1, 1, 1, device=x.device)
    offset = 0.06 * torch.randn(len(x), 3, 1, 1, device=x.device)
    return x * gain + offset + float(torch.rand(())) * 0.08 * torch.randn_like(x)


def render_share(job: tuple[int, int]) -> tuple[np.ndarray, list[scenes.Scene]]:
    """Return a worker's share of the pool: `count` scenes of either side of the split, rendered and reduced to SIDE."""
    seed, count = job
    rng = random.Random(seed)
    kept = [scenes.sample(rng, held_out=None) for _ in range(count)]
    sizes = rng.choices(list(SIZES), list(SIZES.values()), k=count)
    rendered = [renderer.render(scene, *size, rng) for scene, size in zip(kept, sizes, strict=True)]
    return np.stack([pixels(image) for image in rendered]), kept


def train(
    minutes: float, seed: int = 4, count: int = 16_000, path: Path = WEIGHTS, workers: int = 2, device: str = "cpu"
) -> None:
    """Train for `minutes` on `count` rendered scenes, write the weights to `path`, and print the accuracy."""
    torch.manual_seed(seed)
    # Fresh processes, not forks: this one may hold a GPU.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool_of_processes:
        shares = list(pool_of_processes.map(render_share, [(seed * 1000 + i, SHARE) for i in range(count // SHARE)]))
    pool = torch.cat([torch.from_numpy(images) for images, _ in shares]).to(device)
    kept = [scene for _, share in shares for scene in share]
    wanted = {
        name: torch.tensor([values.index(getattr(scene, name)) for scene in kept], device=device)
        for name, values in scenes.ATTRIBUTES.items()
    }
    model = Recogniser().to(device)
    optimizers = Optimizers(model, muon_lr=3e-3, adamw_lr=2e-3, by_adamw=("heads",))
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / (minutes * 60)) < 1:
        selected = torch.randint(len(pool), (BATCH,), device=device)
        read = model(augment(pool[selected]))
        loss = sum(F.cross_entropy(read[name], wanted[name][selected], label_smoothing=0.02) for name in read)
        loss.backward()
        optimizers.step(curve(progress))
        step += 1
        if step % 100 == 0:
            print(f"recogniser step {step} loss {loss.item():.4f}", flush=True)
    save_file({name: value.half().cpu().contiguous() for name, value in model.state_dict().items()}, path)
    print(accuracy(load(path)), flush=True)


def accuracy(
    model: Recogniser, count: int = 200, size: tuple[int, int] = (256, 256), seed: int = 55
) -> dict[str, float]:
    """Return the part of each attribute that is classified correctly on newly rendered scenes."""
    rng = random.Random(seed)
    right = dict.fromkeys(scenes.ATTRIBUTES, 0)
    for _ in range(count):
        scene = scenes.sample(rng, held_out=None)
        read = model.read(renderer.render(scene, *size, rng))
        for name, value in scene.attributes().items():
            right[name] += read[name] == value
    return {name: hits / count for name, hits in right.items()}
