"""Drawing over a picture: the pipeline for it, made of the loaded one's own parts, so that nothing is in memory twice.

What this module does not know: steps, guidance, what the picture is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch

from core.errors import BrokenPictureError
from core.model import guard
from core.model.canvas import Canvas
from core.model.families import SD, SDXL, Z_IMAGE

_STEM = {Z_IMAGE: "ZImage", SD: "StableDiffusion", SDXL: "StableDiffusionXL"}
_OWN_ARGUMENTS: dict[str, dict[str, Any]] = {SD: {"requires_safety_checker": False}, SDXL: {"add_watermarker": False}}


def pipeline_for(pipeline: Any, kind: str, canvas: Canvas) -> Any:
    """The pipeline of class name `kind` itself for noise alone, else its picture-to-picture or inpainting sibling."""
    if canvas.image is None:
        return pipeline
    name = f"{_STEM[kind]}{'Inpaint' if canvas.mask is not None else 'Img2Img'}Pipeline"
    sibling = getattr(diffusers, name)(**pipeline.components, **_OWN_ARGUMENTS.get(kind, {}))
    sibling.set_progress_bar_config(**getattr(pipeline, "_progress_bar_config", {}))
    return sibling


def given(canvas: Canvas) -> dict[str, Any]:
    """What such a pipeline is called with besides."""
    if canvas.image is None:
        return {}
    mask = {"mask_image": canvas.mask} if canvas.mask is not None else {}
    return {"image": canvas.image, "strength": canvas.strength, **mask}


@contextmanager
def encoding(vae: Any, dtype: torch.dtype) -> Iterator[None]:
    """The VAE's encoder is guarded meanwhile; where its precision is another than `dtype`, that of the rest, it translates.

    diffusers widens XL's VAE to encode and leaves it in `dtype`: one of another precision is left as it is.
    """
    encode, upcast, foreign = vae.encode, vae.config.get("force_upcast", False), vae.dtype != dtype

    def guarded(pixels: torch.Tensor) -> Any:
        found = encode(pixels.to(vae.dtype))
        moments = found.latent_dist.parameters
        if not bool(torch.isfinite(moments).all()):
            raise BrokenPictureError(component="vae", came=guard.NOT_FINITE, step=0)
        if foreign:
            found.latent_dist = type(found.latent_dist)(moments.to(dtype))
        return found

    vae.encode = guarded
    if foreign:
        vae.register_to_config(force_upcast=False)
    try:
        yield
    finally:
        del vae.encode
        if foreign:
            vae.register_to_config(force_upcast=upcast)
