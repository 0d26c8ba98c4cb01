"""Reads the attributes of a picture. An independent judge: trained on drawn scenes only, never on the model's pictures.

`evaluate` asks it whether a generated picture shows what its prompt named.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.demo import painting, scenes
from core.demo.optim import Optimizers, curve
from core.demo.reader import SIDE, WEIGHTS, pixels


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

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features = self.trunk(pictures)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, picture: Image.Image) -> dict[str, str]:
        """The most likely value of every attribute."""
        scores = self(to_input([picture]))
        return {name: values[int(scores[name].argmax())] for name, values in scenes.ATTRIBUTES.items()}


def to_input(pictures: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([pixels(picture) for picture in pictures]))


def load(path: Path = WEIGHTS) -> Recogniser:
    model = Recogniser().eval()
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return model


def augment(pictures: Tensor) -> Tensor:
    """Small shifts, blur, noise, brightness and contrast: a model's picture is never as clean as a drawing."""
    dy, dx = (int(torch.randint(-5, 6, ())) for _ in range(2))
    padded = F.pad(pictures, (5, 5, 5, 5), mode="replicate")
    x = padded[:, :, 5 + dy : 5 + dy + SIDE, 5 + dx : 5 + dx + SIDE]
    if torch.rand(()) < 0.5:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    gain = 1 + 0.12 * torch.randn(len(x), 1, 1, 1)
    offset = 0.06 * torch.randn(len(x), 3, 1, 1)
    return x * gain + offset + torch.rand(()) * 0.08 * torch.randn_like(x)


def train(minutes: float, seed: int = 4, count: int = 9000, path: Path = WEIGHTS) -> None:
    torch.manual_seed(seed)
    rng = random.Random(seed)
    kept = [scenes.sample(rng, held_out=None) for _ in range(count)]
    pool = torch.cat([
        to_input([painting.draw(scene, *((256, 256) if i % 5 == 0 else (128, 128)), rng)])
        for i, scene in enumerate(kept)
    ])  # fmt: skip
    wanted = {
        name: torch.tensor([values.index(getattr(scene, name)) for scene in kept])
        for name, values in scenes.ATTRIBUTES.items()
    }
    model = Recogniser()
    optimizers = Optimizers(model, muon_lr=3e-3, adamw_lr=2e-3, by_adamw=("heads",))
    began, step = time.monotonic(), 0
    while (progress := (time.monotonic() - began) / (minutes * 60)) < 1:
        chosen = torch.randint(count, (64,))
        read = model(augment(pool[chosen]))
        loss = sum(F.cross_entropy(read[name], wanted[name][chosen], label_smoothing=0.02) for name in read)
        loss.backward()
        optimizers.step(curve(progress))
        step += 1
        if step % 100 == 0:
            print(f"recogniser step {step} loss {loss.item():.4f}", flush=True)
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, path)
    print(accuracy(load(path)), flush=True)


def accuracy(
    model: Recogniser, count: int = 200, size: tuple[int, int] = (256, 256), seed: int = 55
) -> dict[str, float]:
    """The part of each attribute that is read right on fresh drawings."""
    rng = random.Random(seed)
    right = dict.fromkeys(scenes.ATTRIBUTES, 0)
    for _ in range(count):
        scene = scenes.sample(rng, held_out=None)
        read = model.read(painting.draw(scene, *size, rng))
        for name, value in scene.attributes().items():
            right[name] += read[name] == value
    return {name: hits / count for name, hits in right.items()}
