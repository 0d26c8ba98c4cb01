"""Train the shipped transformer further on a GPU, on scenes rendered meanwhile, at every size.

    python -m core.demo.training.finetune [--out FOLDER] [--minutes M] [--workers N]

What two cores learn in hours, one GPU learns in minutes, and rendering becomes the bottleneck: worker processes
render all the time, the GPU encodes their images, and no image is used more than a few times. The new transformer
is written under --out, to be inspected before it replaces the one in core/demo/weights. The cost of training the
shipped weights is in `train`.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import ZImagePipeline, ZImageTransformer2DModel
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from core.demo import renderer, scenes
from core.demo.training import preview
from core.demo.training.diffusion import Batches, Size, Teacher, loss_of, new_optimizers, one_of
from core.demo.training.optim import Average, curve

SHIPPED = Path(__file__).parents[1] / "weights"
# (width, height): the share of the tokens, of the rendered scenes as well.
MIX = {
    (256, 256): 26, (128, 128): 1, (160, 96): 1, (96, 160): 1, (192, 192): 2, (256, 144): 2, (144, 256): 2,
    (320, 208): 2, (208, 320): 2, (384, 384): 5, (512, 288): 14, (288, 512): 14, (512, 512): 28,
}  # fmt: skip
TOKENS = 40_000  # of a step
GUIDED_FROM = 0.8
CHUNK = 1 << 20  # pixels that a worker draws before it hands them over
CHUNKS = 2  # taken in at each step
POOL_SIZE = 1 << 16  # scenes of a size that the GPU keeps
LOOKED_AT = ((256, 256), (512, 512), (512, 288), (288, 512))
FIRST = 64  # scenes of each size before the first step

Rendered = tuple[Size, Tensor, list[scenes.Scene]]


class RenderedScenes(IterableDataset[Rendered]):
    """Yield endlessly a size, images of it (count, height, width, 3) as bytes, and their scenes."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __iter__(self) -> Iterator[Rendered]:
        worker = get_worker_info()
        rng = random.Random(self._seed + (worker.id if worker else 0))
        sizes = list(MIX)
        rng.shuffle(sizes)  # one of each first, so that all are there when training begins
        while True:
            size = sizes.pop() if sizes else one_of(MIX, rng)
            selected = [scenes.sample(rng) for _ in range(max(1, CHUNK // (size[0] * size[1])))]
            images = [np.asarray(renderer.render(scene, *size, rng)) for scene in selected]
            yield size, torch.from_numpy(np.stack(images)), selected


class Pool(dict[Size, tuple[Tensor, list[scenes.Scene]]]):
    """The scenes rendered so far: by size the latents, on the GPU, with space for more, and the scenes of those in use."""

    def __init__(self, parts: preview.Parts) -> None:
        super().__init__()
        self._parts = parts

    @torch.no_grad()
    def add(self, sides: Sequence[int], images: Tensor, selected: list[scenes.Scene]) -> None:
        """Encode images of one size, (count, height, width, 3) bytes, as long as there is room for their size."""
        size, device = (sides[0], sides[1]), self._parts.vae.device  # the loader makes a list of a tuple
        if size not in self:
            self[size] = _empty(size, device), []
        latents, kept = self[size]
        free = POOL_SIZE - len(kept)
        if not free:
            return
        pixels = images[:free].to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast(device.type, torch.bfloat16):
            mean = self._parts.vae.encoder(pixels)[:, :16]
        latents[len(kept) : len(kept) + len(pixels)] = (mean.float() - self._parts.shift) * self._parts.scale
        kept += selected[:free]

    @property
    def ready(self) -> bool:
        """Return True once every size has FIRST scenes."""
        return len(self) == len(MIX) and all(len(kept) >= FIRST for _, kept in self.values())


def _empty(size: Size, device: torch.device) -> Tensor:
    return torch.empty(POOL_SIZE, 16, size[1] // 8, size[0] // 8, dtype=torch.float16, device=device)


def train(out: Path, minutes: float, workers: int, device: str = "cuda", seed: int = 21) -> ZImageTransformer2DModel:
    """Return the average after `minutes` on the GPU; every twenty seconds the one so far is written to `out`, too."""
    # The workers are forks: they must be there before this process touches the GPU.
    rendered = iter(DataLoader(RenderedScenes(seed), batch_size=None, num_workers=workers, prefetch_factor=4, pin_memory=True))
    first = next(rendered)
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    pipeline = ZImagePipeline.from_pretrained(SHIPPED, dtype=torch.float32).to(device)
    parts, model = preview.Parts.of(pipeline), pipeline.transformer.train()
    parts.vae.requires_grad_(False)
    parts.encoder.requires_grad_(False)
    pool = Pool(parts)
    pool.add(*first)
    while not pool.ready:
        pool.add(*next(rendered))
    optimizers = new_optimizers(model)
    average, teacher = Average(model, 0.995), None
    sizes = random.Random(seed)
    batches = Batches(pool, parts.tokenizer, parts.encoder, sizes, TOKENS)
    began, shown, step, losses = time.monotonic(), 0.0, 0, []
    while (progress := (time.monotonic() - began) / (minutes * 60)) < 1:
        if progress >= GUIDED_FROM and teacher is None:
            teacher = Teacher(copy.deepcopy(average.model), parts.tokenizer, parts.encoder)
        loss = loss_of(model, *batches.draw(one_of(MIX, sizes)), teacher)
        loss.backward()
        optimizers.step(curve(progress, warmup=0.01, hold=0.6))
        average.update(model)
        losses.append(loss.detach())
        step += 1
        for _ in range(CHUNKS):
            pool.add(*next(rendered))
        if time.monotonic() - began - shown > 20:
            shown = time.monotonic() - began
            count = sum(len(kept) for _, kept in pool.values())
            print(
                f"step {step} at {shown:.0f} s, {count} scenes, loss {torch.stack(losses).mean().item():.4f}",
                flush=True,
            )
            losses = []
            save(average.model, out)
    save(average.model, out)
    return average.model


def save(model: ZImageTransformer2DModel, out: Path) -> None:
    """Save the model in fp16, like the rest of the shipped model (see `export`)."""
    copy.deepcopy(model).half().save_pretrained(out)


def main(argv: list[str] | None = None) -> int:
    """Train on a GPU, then classify images of several sizes and save their contact sheets."""
    parser = argparse.ArgumentParser(prog="python -m core.demo.training.finetune", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/training/finished"), help="the model and its contact sheets"
    )
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    options = parser.parse_args(argv)
    if not torch.cuda.is_available():
        raise SystemExit(
            "This needs a GPU that PyTorch can use as cuda; on a CPU `train diffusion` does the same in hours."
        )
    model = train(options.out / "transformer", options.minutes, options.workers)
    parts = preview.Parts.of(ZImagePipeline.from_pretrained(SHIPPED, dtype=torch.float32).to("cuda"))
    for width, height in LOOKED_AT:
        print(f"{width}x{height}", flush=True)
        print(preview.score(parts, model, options.out / f"{width}x{height}.png", (width, height), 200), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
