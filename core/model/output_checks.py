"""Check what the parts of a model return: NaN, infinity and flat colour raise BrokenPictureError, which names a cure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.errors import BrokenPictureError

FLAT_RANGE = 2  # of 255: an image whose channels all span less is one colour
NOT_FINITE = "NaN or Inf"

CURES: Mapping[str, Mapping[str, str]] = {
    "off": {
        "en": "Switch precision.auto_retry on, or set model.dtype to float32, and run again.",
        "zh": "请打开 precision.auto_retry，或将 model.dtype 设为 float32 后重试。",
    },
    "memory": {
        "en": "A higher precision does not fit the free memory: close other programs, or set model.device to cpu.",
        "zh": "更高精度超出可用内存：请关闭其他程序，或将 model.device 设为 cpu。",
    },
    "weights": {
        "en": "float32 gave it too, so precision is not the cause: put the advanced options back to their defaults, "
        "or get this component's weights again.",
        "zh": "float32 下也是如此，原因不在精度：请将高级选项恢复默认，或重新获取该组件的权重。",
    },
    "flat": {
        "en": "float32 gave it too: change the prompt, the seed or the number of steps, or put the advanced options back.",
        "zh": "float32 下也是如此：请更换提示词、种子或步数，或将高级选项恢复默认。",
    },
}


def check_embeds(embeds: Sequence[torch.Tensor]) -> None:
    """Raise BrokenPictureError when prompt embeds are NaN or infinite. Step 0: before the first."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in embeds):
        raise BrokenPictureError(component="text_encoder", came=NOT_FINITE, step=0)


def check_latents(latents: torch.Tensor, step: int) -> None:
    """Raise BrokenPictureError when any value after `step` is NaN or infinite."""
    if not bool(torch.isfinite(latents).all()):
        raise BrokenPictureError(component="transformer", came=NOT_FINITE, step=step)


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
            raise BrokenPictureError(component="vae", came=NOT_FINITE, step=0)
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
        raise BrokenPictureError(component="vae", came=NOT_FINITE, step=step)


def check_picture(image: Image.Image, step: int) -> None:
    """Raise BrokenPictureError when the finished image is black or of one flat colour."""
    pixels = np.asarray(image).reshape(-1, 3)
    if int(np.ptp(pixels, axis=0).max()) < FLAT_RANGE:
        colour = tuple(int(c) for c in pixels[0])
        came = {"en": f"a flat picture of colour {colour}", "zh": f"颜色为 {colour} 的纯色图"}
        raise BrokenPictureError(component="vae", came=came, step=step)


def with_cure(broken: BrokenPictureError, cure: str) -> BrokenPictureError:
    """Return the error with one of CURES; a flat image has its own when precision was not the cause."""
    flat = cure == "weights" and broken.values["came"] != NOT_FINITE
    return BrokenPictureError(**{**broken.values, "cure": CURES["flat" if flat else cure]})
