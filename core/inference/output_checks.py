"""Check what the parts of a model return: NaN, infinity and flat colour raise CorruptImageError, which names a cure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.errors import CorruptImageError
from core.i18n import localize

FLAT_RANGE = 2  # of 255: an image whose channels all span less is one colour
NOT_FINITE = "NaN or Inf"

CURES: Mapping[str, Mapping[str, str]] = {
    "off": localize("inference.output_checks.cures.off"),
    "memory": localize("inference.output_checks.cures.memory"),
    "weights": localize("inference.output_checks.cures.weights"),
    "flat": localize("inference.output_checks.cures.flat"),
}


def check_embeds(embeds: Sequence[torch.Tensor]) -> None:
    """Raise CorruptImageError when prompt embeds are NaN or infinite. Step 0: before the first."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in embeds):
        raise CorruptImageError(component="text_encoder", value=NOT_FINITE, step=0)


def check_latents(latents: torch.Tensor, step: int) -> None:
    """Raise CorruptImageError when any value after `step` is NaN or infinite."""
    if not bool(torch.isfinite(latents).all()):
        raise CorruptImageError(component="transformer", value=NOT_FINITE, step=step)


@contextmanager
def checked_encoder(vae: Any, dtype: torch.dtype) -> Iterator[None]:
    """Check what the VAE encodes meanwhile; where its precision is another than `dtype`, that of the rest, it converts.

    diffusers widens SDXL's VAE to encode and leaves it in `dtype`: one of another precision is left as it is.
    """
    encode, upcast, foreign = vae.encode, vae.config.get("force_upcast", False), vae.dtype != dtype

    def checked(pixels: torch.Tensor) -> Any:
        found = encode(pixels.to(vae.dtype))
        moments = found.latent_dist.parameters
        if not bool(torch.isfinite(moments).all()):
            raise CorruptImageError(component="vae", value=NOT_FINITE, step=0)
        if foreign:
            found.latent_dist = type(found.latent_dist)(moments.to(dtype))
        return found

    vae.encode = checked
    if foreign:
        vae.register_to_config(force_upcast=False)
    try:
        yield
    finally:
        del vae.encode
        if foreign:
            vae.register_to_config(force_upcast=upcast)


def check_decoded(pixels: torch.Tensor, step: int) -> None:
    """Raise it for what the VAE decoded, before it is rounded to bytes (where NaN would turn black without a word)."""
    if not bool(torch.isfinite(pixels).all()):
        raise CorruptImageError(component="vae", value=NOT_FINITE, step=step)


def check_image(image: Image.Image, step: int) -> None:
    """Raise CorruptImageError when the finished image is black or of one flat colour."""
    pixels = np.asarray(image).reshape(-1, 3)
    if int(np.ptp(pixels, axis=0).max()) < FLAT_RANGE:
        colour = tuple(int(c) for c in pixels[0])
        found = localize("inference.output_checks.one_color", colour=colour)
        raise CorruptImageError(component="vae", value=found, step=step)


def with_cure(broken: CorruptImageError, cure: str) -> CorruptImageError:
    """Return the error with one of CURES; a flat image has its own when precision was not the cause."""
    flat = cure == "weights" and broken.values["value"] != NOT_FINITE
    return CorruptImageError(**{**broken.values, "cure": CURES["flat" if flat else cure]})
