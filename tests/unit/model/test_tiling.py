"""Tile sizes that fit together, whatever is asked for."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from core.config.options import SCHEMA
from core.model.tuning import tiling


@given(st.integers(8, 2048), st.floats(0, 0.5))
def test_strides_agree_in_pixels_and_latents(tile, overlap):
    plan = tiling.plan_tiles(tile, overlap)
    stride_latents = int(plan.latent * (1 - plan.overlap))  # as AutoencoderKL.tiled_decode computes it
    stride_pixels = plan.sample - int(plan.sample * plan.overlap)
    assert plan.sample == plan.latent * 8 <= max(tile, 8)
    assert stride_pixels == stride_latents * 8 > 0


@given(st.integers(64, 2048), st.floats(0, 0.5))
def test_plan_is_near_what_was_asked(tile, overlap):
    plan = tiling.plan_tiles(tile, overlap)
    assert tile - plan.sample < 8
    assert abs(plan.overlap - overlap) <= 1 / plan.latent


def options(**changed):
    return {**SCHEMA.defaults(), **changed}


def test_which_tiles_are_wanted():
    assert tiling.wanted_plan(options()) is None
    assert tiling.wanted_plan(options(**{"vae.enable_tiling": True})).sample == 256
    assert tiling.wanted_plan(options(**{"memory.low_vram": True})).sample == 256
    both = options(**{"vae.enable_tiling": True, "vae.decoder_tiling": True})
    assert tiling.wanted_plan(both).sample == 384


def test_apply_sets_the_pair_and_takes_it_back():
    vae = SimpleNamespace(use_tiling=False)
    tiling.apply(vae, tiling.plan_tiles(130, 0.25))
    assert (vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size) == (True, 128, 16)
    tiling.apply(vae, None)
    assert vae.use_tiling is False
