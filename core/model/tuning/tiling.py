"""Tiled decoding with sizes that always fit together.

diffusers cuts the latents into tiles of `tile_latent_min_size`, decodes each, and pastes them at a stride that it computes
twice, once in latents and once in pixels, each time rounding down. Where the two disagree the picture has the WRONG SIZE.
So the pair of sizes is always (8 n, n), and the overlap a whole number of latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

SCALE = 8  # pixels to a latent


@dataclass(frozen=True)
class TilePlan:
    """`sample` and `latent`: a tile's side in pixels and in latents. `overlap`: its share that a neighbour covers too.

    A fraction, so that diffusers' roundings of `side * overlap` and `side * (1 - overlap)` have nothing to round.
    """

    sample: int
    latent: int
    overlap: Fraction


def plan_tiles(tile_pixels: int, overlap_factor: float) -> TilePlan:
    """The nearest consistent plan: the tile rounded down to 8 px, the overlap to whole latents."""
    latent = max(1, tile_pixels // SCALE)
    shared = min(round(latent * overlap_factor), latent - 1)
    return TilePlan(latent * SCALE, latent, Fraction(shared, latent))


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
