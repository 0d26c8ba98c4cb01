"""Set VAE tiling, for encoder and decoder separately, with a consistent pair of pixel and latent sizes.

diffusers cuts the latents into tiles of `tile_latent_min_size`, decodes each, and pastes them at a stride that it computes
twice, once in latents and once in pixels, each time rounding down. Where the two disagree the image has the WRONG SIZE.
So the pair of sizes is always (8 n, n), and the overlap a whole number of latents. diffusers has one pair for encoder and
decoder: here each call sets the pair of its own side first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DecoderOutput

from core.config.typed_settings import Options
from core.inference import banded_vae

SCALE = 8  # pixels to a latent


@dataclass(frozen=True)
class TilePlan:
    """`sample` and `latent`: the side of a tile in pixels and in latents.

    `overlap`: the share covered by a neighbour as well.

    A fraction, so that diffusers' roundings of `side * overlap` and `side * (1 - overlap)` have nothing to round.
    """

    sample: int
    latent: int
    overlap: Fraction


@dataclass(frozen=True)
class Tiles:
    """The tiles of encoder and decoder; None is no tiling. `exact`: bands of the whole image, else diffusers' tiles."""

    encoder: TilePlan | None = None
    decoder: TilePlan | None = None
    exact: bool = False

    @property
    def record(self) -> dict[str, Any] | None:
        """Return the decoder's tiles for the image's record."""
        if self.decoder is None:
            return None
        plan = {"sample": self.decoder.sample, "latent": self.decoder.latent}
        return {**plan, "mode": "exact"} if self.exact else {**plan, "overlap": float(self.decoder.overlap)}


def plan_tiles(tile_pixels: int, overlap_factor: float) -> TilePlan:
    """Return the nearest consistent plan: the tile rounded down to 8 px, the overlap to whole latents."""
    latent = max(1, tile_pixels // SCALE)
    shared = min(round(latent * overlap_factor), latent - 1)
    return TilePlan(latent * SCALE, latent, Fraction(shared, latent))


def wanted_tiles(options: Mapping[str, Any]) -> Tiles:
    """Return the tiles that the options set. The decoder's own size wins over the common one."""
    option = Options(options)
    overlap = option.vae.tile_overlap_factor
    tiled = option.vae.enable_tiling or option.memory.low_vram
    both = plan_tiles(option.vae.tile_sample_min_size, overlap) if tiled else None
    own = plan_tiles(option.vae.decoder_tile_size, overlap) if option.vae.decoder_tiling else None
    return Tiles(encoder=both, decoder=own or both, exact=option.vae.tiling_mode == "exact")


def apply(vae: Any, tiles: Tiles) -> None:
    """Set the tiles of both sides, or switch them off: then the VAE is diffusers' own again."""
    for method in ("_encode", "_decode"):
        vae.__dict__.pop(method, None)  # what an earlier call put over the class's own
    _set_pair(vae, tiles.decoder)
    if tiles.encoder or tiles.decoder:
        vae._encode = partial(_encode, vae, tiles.encoder, tiles.exact)
        vae._decode = partial(_decode, vae, tiles.decoder, tiles.exact)


def _set_pair(vae: Any, plan: TilePlan | None) -> None:
    vae.use_tiling = plan is not None
    if plan is not None and hasattr(vae, "tile_sample_stride_height"):  # a VAE for videos, whose tiles have strides
        stride = plan.sample - int(plan.latent * plan.overlap) * SCALE
        vae.enable_tiling(plan.sample, plan.sample, stride, stride)
    elif plan is not None:
        vae.tile_sample_min_size = plan.sample
        vae.tile_latent_min_size = plan.latent
        vae.tile_overlap_factor = plan.overlap


def _encode(vae: Any, plan: TilePlan | None, exact: bool, pixels: torch.Tensor) -> torch.Tensor:
    """Return (b, 3, h, w) -> moments (b, 2 c, h / 8, w / 8). In the place of the VAE's own `_encode`."""
    _set_pair(vae, plan)
    if plan is not None and exact and pixels.ndim == 4 and max(pixels.shape[-2:]) > plan.sample:
        return banded_vae.encode(vae, pixels, plan.sample)
    moments: torch.Tensor = type(vae)._encode(vae, pixels)
    return moments


def _decode(vae: Any, plan: TilePlan | None, exact: bool, latents: torch.Tensor, return_dict: bool = True) -> Any:
    """Return (b, c, h, w) -> (b, 3, 8 h, 8 w). In the place of the VAE's own `_decode`, with its answers."""
    _set_pair(vae, plan)
    if plan is not None and exact and latents.ndim == 4 and max(latents.shape[-2:]) > plan.latent:
        sample = banded_vae.decode(vae, latents, plan.sample)
        return DecoderOutput(sample=sample) if return_dict else (sample,)
    return type(vae)._decode(vae, latents, return_dict=return_dict)
