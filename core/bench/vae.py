"""Compare VAE decoding in one piece, in blended tiles and in exact bands: difference, time and memory: `bench vae`.

The VAE has the shape of FLUX's (84 million parameters, 16 latent channels), which Z-Image uses, and random weights: what is
measured follows from the shape, and no download is needed.

What counts as memory on the device: on a GPU, its allocator's peak above the weights. On a CPU, the bytes of all tensors alive
at once that operations made, but for what the exact mode keeps in the computer's memory by intent: that is counted apart. What
a kernel takes inside one operation (a convolution's workspace) is in neither count.
"""

from __future__ import annotations

import argparse
import json
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.cli.console import DONE, FAILED, whole_number
from core.inference import vae_tiling

MOST_STEPS = 2.0  # of 255: how far exact bands may be from one piece in float32
MOST_MEMORY = 0.5  # of one piece's peak on the device


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of living tensors that operations have made, and their maximum."""

    def __init__(self, module: torch.nn.Module) -> None:
        """Start counting; the parameters of `module` are not counted."""
        super().__init__()
        self.device = self.device_peak = self.host = self.host_peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}
        self._hosting = False
        self._weights = {parameter.untyped_storage()._cdata for parameter in module.parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf.untyped_storage())
        return made

    def allocate(self, shape: tuple[int, int, int], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor that counts as host memory."""
        self._hosting = True
        try:
            return torch.empty(shape, dtype=dtype)
        finally:
            self._hosting = False

    def _see(self, storage: torch.UntypedStorage) -> None:
        name, size = storage._cdata, storage.nbytes()
        if name in self._known or name in self._weights:
            return
        host = self._hosting
        self._known[name] = weakref.ref(storage, lambda _: self._forget(name, size, host))
        self._count(size, host)

    def _forget(self, name: int, size: int, host: bool) -> None:
        del self._known[name]
        self._count(-size, host)

    def _count(self, size: int, host: bool) -> None:
        if host:
            self.host += size
            self.host_peak = max(self.host_peak, self.host)
        else:
            self.device += size
            self.device_peak = max(self.device_peak, self.device)


@dataclass(frozen=True)
class Decoded:
    """One decoding: image (1, 3, h, w), seconds, and peak bytes."""

    image: torch.Tensor
    seconds: float
    device_peak: int
    host_peak: int


def flux_shaped(device: str) -> Any:
    """Return FLUX's autoencoder with random weights, in float32."""
    torch.manual_seed(0)
    with torch.device(device):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=16,
            sample_size=1024,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
    return vae.eval()


def decode(vae: Any, decoder: Callable[[vae_tiling.Allocate | None], torch.Tensor], device: str) -> Decoded:
    """Run one way of decoding and measure it. The decoder gets how to allocate in the computer's memory, or None."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        began = _now(device)
        image = decoder(None)
        return Decoded(image, _now(device) - began, torch.cuda.max_memory_allocated() - before, 0)
    live = LiveBytes(vae)
    with live:
        began = _now(device)
        image = decoder(live.allocate)
        seconds = _now(device) - began
    return Decoded(image, seconds, live.device_peak, live.host_peak)


def compare(vae: Any, latents: torch.Tensor, tile: int, overlap: float) -> dict[str, dict[str, float]]:
    """Decode in each mode.

    Distances are in steps of 8 bits, scaled so that the reference has a spread of 1/4 of the range.

    Random weights give an image of any contrast; a photograph's standard deviation is about a quarter of the range.
    """
    plan = vae_tiling.plan_tiles(tile, overlap)
    device = latents.device.type

    def whole(_: vae_tiling.Allocate | None) -> torch.Tensor:
        vae_tiling.apply(vae, vae_tiling.Tiles())
        return vae.decode(latents, return_dict=False)[0]

    def blended(_: vae_tiling.Allocate | None) -> torch.Tensor:
        vae_tiling.apply(vae, vae_tiling.Tiles(decoder=plan))
        return vae.decode(latents, return_dict=False)[0]

    def exact(allocate: vae_tiling.Allocate | None) -> torch.Tensor:
        return vae_tiling.decode(vae, latents, plan.sample, allocate)

    with torch.no_grad():  # not inference_mode: there, operations made of others would be counted as one
        one = decode(vae, whole, device)
        steps = 255 / 4 / one.image.std()
        rows = {"one piece": _row(one, one, steps)}
        for name, way in (("blend", blended), ("exact", exact)):
            rows[name] = _row(decode(vae, way, device), one, steps)
        vae_tiling.apply(vae, vae_tiling.Tiles())
    return rows


def _row(way: Decoded, one: Decoded, steps: torch.Tensor) -> dict[str, float]:
    distance = (way.image - one.image).abs() * steps
    return {
        "largest": round(float(distance.max()), 5),
        "mean": round(float(distance.mean()), 5),
        "seconds": round(way.seconds, 2),
        "device_mb": round(way.device_peak / 1e6, 1),
        "host_mb": round(way.host_peak / 1e6, 1),
    }


def run(arguments: argparse.Namespace) -> int:
    """Print a table and, last, one line of JSON. Exit code 1 when the exact mode is further off or larger than it may be."""
    side = whole_number("--side", arguments.side or "1024", 64, 8192) // 8 * 8
    tile = whole_number("--tile", arguments.tile, 64, 2048)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vae = flux_shaped(device)
    latents = torch.randn(1, 16, side // 8, side // 8, generator=torch.Generator().manual_seed(1)).to(device)
    rows = compare(vae, latents, tile, 0.125)
    parameters = sum(p.numel() for p in vae.parameters()) / 1e6
    print(f"FLUX-shaped VAE, {parameters:.0f} M random weights, {side}x{side}, tile {tile} px, {device} float32")
    print(f"{'decoding in':<13}{'largest':>10}{'mean':>10}{'seconds':>10}{'device MB':>11}{'host MB':>10}")
    for name, row in rows.items():
        print(
            f"{name:<13}{row['largest']:>10.4f}{row['mean']:>10.4f}{row['seconds']:>10.1f}"
            f"{row['device_mb']:>11.0f}{row['host_mb']:>10.0f}"
        )
    print("largest and mean: distance from one piece in steps of 255")
    print(json.dumps({"side": side, "tile": tile, "device": device, "parameters": parameters, **rows}))
    within = rows["exact"]["largest"] <= MOST_STEPS
    return DONE if within and rows["exact"]["device_mb"] <= MOST_MEMORY * rows["one piece"]["device_mb"] else FAILED


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
