"""A small estimate of the forming picture: a linear map from 16 latent channels to red, green and blue.

The map is fitted for each VAE and lies beside its weights as `preview.safetensors`: `weight` (16, 3) and `bias` (3,), from
normalised latents to colours of 0 to 1. A model without the file has no preview.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

FILE = "preview.safetensors"
SIDE = 384  # px, the longer side of the preview at most
GROWTH = 2  # px of the preview for each latent: more would be interpolated only, which the browser does as well
SHARE = 0.02  # of the time of a picture's steps: all that its previews may take together
WRITING_SECONDS = 0.0005  # a preview's row in the database takes this much more than a report without one


class Previewer:
    """Latents in, WebP bytes out; half a millisecond for 256 x 256, four for 1024 x 1024.

    `seconds` is what drawing one took lately.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = weight.float().numpy()
        self._bias = bias.float().numpy()
        self.seconds = 0.0
        for _ in range(2):  # the first one loads libraries; the second tells what one costs
            self.draw(torch.zeros(1, weight.shape[0], 32, 32))

    def draw(self, latents: torch.Tensor) -> bytes:
        """(1, 16, h, w) normalised latents of the estimated clean picture -> a WebP of at most SIDE pixels a side."""
        began = time.perf_counter()
        channels, height, width = latents.shape[1:]
        flat = (
            latents[0].float().cpu().numpy().reshape(channels, -1)
        )  # numpy: torch would wake all its threads for this
        colours = (self._weight.T @ flat).T + self._bias
        levels = (colours.clip(0, 1) * 255).round().astype(np.uint8).reshape(height, width, 3)
        scale = min(GROWTH, SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        buffer = io.BytesIO()
        Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=90, method=0)
        self.seconds = time.perf_counter() - began
        return buffer.getvalue()


class PreviewBudget:
    """Of one picture, from its first step on: previews are drawn as long as they take no more than SHARE of its steps.

    Slow steps pay for a preview each; fast ones for one now and then. `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = clock()
        self._spent = 0.0

    def allows(self, seconds: float) -> bool:
        """Whether the steps so far pay for one more preview that is expected to take so long."""
        stepped = self._clock() - self._began - self._spent
        return self._spent + seconds + WRITING_SECONDS <= SHARE * stepped

    def pay(self, seconds: float) -> None:
        """A preview was drawn, and took this long."""
        self._spent += seconds + WRITING_SECONDS


def load_previewer(folder: Path) -> Previewer | None:
    """The previewer of the model in `folder`, if it ships one."""
    path = folder / FILE
    if not path.is_file():
        return None
    tensors = load_file(path)
    return Previewer(tensors["weight"], tensors["bias"])


def estimate_clean(before: torch.Tensor, after: torch.Tensor, sigma_before: float, sigma_after: float) -> torch.Tensor:
    """The clean latents that one Euler step points at.

    Rectified flow: x = (1 - s) clean + s noise, so dx/ds is constant along a straight path and clean = x - s dx/ds.
    """
    slope = (after - before) / (sigma_after - sigma_before)
    return after - sigma_after * slope
