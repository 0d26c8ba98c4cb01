"""Choose number formats, and check what the parts of a model return: NaN, infinity and flat colour raise CorruptImageError."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from core.errors import CorruptImageError
from core.i18n import localize

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}  # from narrow to wide in range


def next_dtypes(dtypes: Mapping[str, str], has_bfloat16: bool) -> dict[str, str] | None:
    """Return the dtypes for the next try: the range grows, no component gets less. None when all is float32.

    float16 -> bfloat16 where the device computes in it, else float32; bfloat16 -> float32.
    """
    order = list(DTYPES)
    if has_bfloat16 and "float16" in dtypes.values():
        target = "bfloat16"
    elif set(dtypes.values()) != {"float32"}:
        target = "float32"
    else:
        return None
    return {name: max(dtype, target, key=order.index) for name, dtype in dtypes.items()}


@contextmanager
def in_float32(module: nn.Module) -> Iterator[None]:
    """Compute with `module` in float32. Its weights are restored bit for bit: float32 holds each 16-bit value exactly."""
    before = next(module.parameters()).dtype
    nn.Module.to(module, torch.float32)  # not diffusers' own `to`, which writes a warning each time
    try:
        yield
    finally:
        nn.Module.to(module, before)


FLAT_RANGE = 2  # of 255: an image whose channels all span less is one colour
NOT_FINITE = "NaN or Inf"

CURES: Mapping[str, Mapping[str, str]] = {
    "off": localize("inference.precision.cures.off"),
    "memory": localize("inference.precision.cures.memory"),
    "weights": localize("inference.precision.cures.weights"),
    "flat": localize("inference.precision.cures.flat"),
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
        found = localize("inference.precision.one_color", colour=colour)
        raise CorruptImageError(component="vae", value=found, step=step)


def with_cure(broken: CorruptImageError, cure: str) -> CorruptImageError:
    """Return the error with one of CURES; a flat image has its own when precision was not the cause."""
    flat = cure == "weights" and broken.values["value"] != NOT_FINITE
    return CorruptImageError(**{**broken.values, "cure": CURES["flat" if flat else cure]})
