"""Tiled decoding with sizes that always fit together.

diffusers cuts a latent of the picture into tiles of `tile_latent_min_size`, decodes each, and pastes them at a stride that it
computes twice, once in latents and once in pixels, each time rounding down. Where the two disagree the picture has the WRONG SIZE.
So the pair of sizes is always (8 n, n) and the overlap is a whole number of latents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCALE = 8  # pixels to a latent


@dataclass(frozen=True)
class TilePlan:
    """`sample` and `latent` are a tile's side in pixels and in latents; `overlap` its share that a neighbour covers too."""

    sample: int
    latent: int
    overlap: float


def plan_tiles(tile_pixels: int, overlap_factor: float) -> TilePlan:
    """The nearest consistent plan: the tile rounded down to 8 px, the overlap to whole latents."""
    latent = max(1, tile_pixels // SCALE)
    wanted = min(round(latent * overlap_factor), latent - 1)
    return next(plan for k in range(wanted, -1, -1) if (plan := _consistent(latent, k)) is not None)


def _consistent(latent: int, k: int) -> TilePlan | None:
    """The plan whose two strides agree when computed as diffusers does, for an overlap of k latents; None if none does.

    k / latent need not be a binary fraction: one of its neighbours may survive the two roundings where it does not.
    """
    exact = k / latent
    for factor in (exact, math.nextafter(exact, 0.0), math.nextafter(exact, 1.0)):
        stride = int(latent * (1 - factor))
        blend = int(latent * SCALE * factor)
        if stride * SCALE == latent * SCALE - blend and stride > 0:
            return TilePlan(latent * SCALE, latent, factor)
    return None


def wanted_plan(options: Mapping[str, Any]) -> TilePlan | None:
    """The decoder's tiles that the options ask for, or None for decoding in one piece."""
    if options["vae.decoder_tiling"]:
        return plan_tiles(options["vae.decoder_tile_size"], options["vae.tile_overlap_factor"])
    if options["vae.enable_tiling"] or options["memory.low_vram"]:
        return plan_tiles(options["vae.tile_sample_min_size"], options["vae.tile_overlap_factor"])
    return None


def apply(vae: Any, plan: TilePlan | None) -> None:
    """Set the decoder's tiles, or switch them off."""
    vae.use_tiling = plan is not None
    if plan is not None:
        vae.tile_sample_min_size = plan.sample
        vae.tile_latent_min_size = plan.latent
        vae.tile_overlap_factor = plan.overlap
