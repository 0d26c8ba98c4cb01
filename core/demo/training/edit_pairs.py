"""Make the pool of edits that the transformer is trained on: scenes drawn before and after, encoded once.

A shard holds families: a scene and what a handful of edits makes of it, all drawn by one seed. From each edit that
can be undone comes a second one, so that five encoded images give about seven edits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from transformers import Siglip2VisionConfig, Siglip2VisionModel
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from core.demo import edits, renderer, scenes
from core.demo.training.edit_text import SHIPPED
from core.demo.training.vae import to_tensor

Size = tuple[int, int]  # width, height
FAMILIES, EDITS = 60, 4  # of a shard, of a family
SIGLIP_WIDTH, SIGLIP_PATCHES = 32, 32


def new_siglip(out: Path) -> tuple[Siglip2VisionModel, Siglip2ImageProcessorPil]:
    """Return the smallest vision tower that the pipeline takes, untrained, and its image processor; kept under `out`.

    The reference latents say all there is to see. The tower gives the transformer the tokens it expects: up to 32 of
    a much reduced image.
    """
    if not (out / "siglip").exists():
        torch.manual_seed(3)
        config = Siglip2VisionConfig(
            hidden_size=SIGLIP_WIDTH, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            num_patches=64, patch_size=16, vision_use_head=False,
        )  # fmt: skip
        Siglip2VisionModel(config).save_pretrained(out / "siglip")
        Siglip2ImageProcessorPil(patch_size=16, max_num_patches=SIGLIP_PATCHES).save_pretrained(
            out / "siglip_processor"
        )
    siglip = Siglip2VisionModel.from_pretrained(out / "siglip", dtype=torch.float32).eval().requires_grad_(False)
    return siglip, Siglip2ImageProcessorPil.from_pretrained(out / "siglip_processor")


def load_vae() -> AutoencoderKL:
    """Return the shipped autoencoder, in float32."""
    return AutoencoderKL.from_pretrained(SHIPPED / "vae", torch_dtype=torch.float32).eval().requires_grad_(False)


class Encoder:
    """What the pipeline makes of a source image: normalised latents and SigLIP's features."""

    def __init__(self, out: Path) -> None:
        self._vae, (self._siglip, self._processor) = load_vae(), new_siglip(out)

    @torch.no_grad()
    def encode(self, images: list[Image.Image]) -> tuple[Tensor, Tensor]:
        """Return latents (count, 16, height / 8, width / 8) and features (count, rows, columns, SIGLIP_WIDTH)."""
        with torch.autocast("cpu", torch.bfloat16):
            mean = self._vae.encoder(to_tensor(images))[:, :16].float()
        config = self._vae.config
        seen = self._processor(images=images, return_tensors="pt")
        rows, columns = seen.spatial_shapes[0].tolist()
        features = self._siglip(**seen).last_hidden_state[:, : rows * columns]
        return (mean - config.shift_factor) * config.scaling_factor, features.unflatten(1, (rows, columns))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Return the images of latents."""
        config = self._vae.config
        pixels = self._vae.decoder(latents / config.scaling_factor + config.shift_factor)
        levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(image) for image in levels]


def family(rng: random.Random) -> tuple[list[tuple[scenes.Scene, renderer.Layout]], list[tuple[int, int, edits.Edit]]]:
    """Return scenes with their layouts, and which edits lead from which scene to which."""
    base = edits.sample_before(rng)
    members = [(base, renderer.layout(base))]
    steps = []
    for kind in rng.sample(edits.EDITS, len(edits.EDITS)):
        made = edits.edit(kind, base, rng)
        if made is None or made.after.held_out or len(members) > EDITS:
            continue
        after = edits.layout_after(members[0][1], made)
        steps.append((0, len(members), made))
        undone = edits.reversed_edit(made, members[0][1], after)
        if undone is not None:
            steps.append((len(members), 0, undone))
        members.append((made.after, after))
    return members, steps


def make_shard(encoder: Encoder, path: Path, size: Size, seed: int) -> None:
    """Draw and encode FAMILIES families of one size, and write them as one file."""
    rng = random.Random(seed)
    latents: list[Tensor] = []
    features: list[Tensor] = []
    steps = []
    for _ in range(FAMILIES):
        members, found = family(rng)
        jitter, first = rng.randrange(2**31), sum(len(images) for images in latents)
        encoded = encoder.encode([edits.draw(scene, places, size, jitter) for scene, places in members])
        latents.append(encoded[0].half())
        features.append(encoded[1].half())
        steps += [
            (first + a, first + b, made.kind, made.thing, astuple(made.before), astuple(made.after))
            for a, b, made in found
        ]
    torch.save(
        {"latents": torch.cat(latents), "features": torch.cat(features), "steps": steps}, path.with_suffix(".tmp")
    )
    path.with_suffix(".tmp").replace(path)


def jobs(shares: dict[Size, int]) -> Iterator[tuple[Size, int]]:
    """Yield sizes with the numbers of their shards, in proportion to `shares`, small images first."""
    for size, count in shares.items():
        for index in range(count):
            yield size, index


def make(out: Path, shares: dict[Size, int]) -> None:
    """Write the shards under `out`/pairs; existing ones are kept, so that it can be resumed."""
    torch.set_num_threads(1)
    folder = out / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    encoder, began = Encoder(out), time.monotonic()
    for size, index in jobs(shares):
        path = folder / f"{size[0]}x{size[1]}-{index}.pt"
        if not path.exists():
            make_shard(encoder, path, size, 1000 * size[0] + 7 * size[1] + 1_000_003 * index)
            print(f"{path.name} {time.monotonic() - began:.0f} s", flush=True)


class Pool:
    """The edits of the shards written so far, by size; `refresh` takes in those written since."""

    def __init__(self, out: Path) -> None:
        self._folder, self._seen = out / "pairs", set[str]()
        self._latents: dict[Size, Tensor] = {}
        self._features: dict[Size, Tensor] = {}
        self.edits: dict[Size, dict[str, list[tuple[int, int, edits.Edit]]]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in new shards."""
        for path in sorted(self._folder.glob("*.pt")):
            if path.name in self._seen:
                continue
            self._seen.add(path.name)
            width, height = map(int, path.stem.split("-")[0].split("x"))
            size, shard = (width, height), torch.load(path, weights_only=True)
            first = len(self._latents.get(size, ()))
            for kept, name in ((self._latents, "latents"), (self._features, "features")):
                kept[size] = torch.cat([kept[size], shard[name]]) if size in kept else shard[name]
            for a, b, kind, thing, before, after in shard["steps"]:
                made = edits.Edit(kind, thing, scenes.Scene(*before), scenes.Scene(*after))
                kinds = self.edits.setdefault(size, {})
                kinds.setdefault(kind, []).append((first + a, first + b, made))

    def images(self, size: Size, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """Return latents and SigLIP features of images by number, in float32."""
        at = torch.tensor(numbers)
        return self._latents[size][at].float(), self._features[size][at].float()
