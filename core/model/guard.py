"""No broken picture is ever saved as if it were one: NaN, Inf and flat colour are found and named."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from core.errors import BrokenPictureError

FLAT_RANGE = 2  # of 255: a picture whose channels all span less is one colour


def check_latents(latents: torch.Tensor, step: int) -> None:
    """Raise BrokenPictureError when any value after `step` is NaN or infinite."""
    if not bool(torch.isfinite(latents).all()):
        raise BrokenPictureError(component="transformer", came="NaN or Inf", step=step)


def check_decoded(pixels: torch.Tensor, step: int) -> None:
    """The same for what the VAE decoded, before it is rounded to bytes (where NaN would turn black in silence)."""
    if not bool(torch.isfinite(pixels).all()):
        raise BrokenPictureError(component="vae", came="NaN or Inf", step=step)


def check_picture(image: Image.Image, step: int) -> None:
    """Raise BrokenPictureError when the finished picture is black or of one flat colour."""
    pixels = np.asarray(image).reshape(-1, 3)
    if int(np.ptp(pixels, axis=0).max()) < FLAT_RANGE:
        raise BrokenPictureError(
            component="vae", came=f"a flat picture of colour {tuple(int(c) for c in pixels[0])}", step=step
        )
