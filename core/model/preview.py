"""A small estimate of the forming picture: a linear map from 16 latent channels to red, green and blue.

The map is fitted for each VAE and lies beside its weights as `preview.safetensors`: `weight` (16, 3) and `bias` (3,), from
normalised latents to colours of 0 to 1. A model without the file has no preview.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

FILE = "preview.safetensors"
SIDE = 384  # px, the longer side of the preview


class Previewer:
    """Latents in, WebP bytes out; about a millisecond for 1024 x 1024."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = weight.float()
        self._bias = bias.float()

    def draw(self, latents: torch.Tensor) -> bytes:
        """(1, 16, h, w) normalised latents of the estimated clean picture -> a WebP of at most SIDE pixels a side."""
        flat = latents[0].float().cpu().permute(1, 2, 0) @ self._weight + self._bias
        image = Image.fromarray((flat.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
        scale = SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        buffer = io.BytesIO()
        image.resize(size, Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=80, method=0)
        return buffer.getvalue()


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
