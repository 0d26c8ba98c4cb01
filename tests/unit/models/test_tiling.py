"""Tile sizes that fit together, encoder and decoder apart, on a small VAE of the real class."""

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from core.bench import vae as bench_vae
from core.config.options import SCHEMA
from core.inference import vae_tiling
from core.inference.vae_tiling import Tiles, plan_tiles
from tests.examples import examples


@pytest.fixture(scope="module")
def vae():
    """Four blocks as FLUX's, attention in the middle, every weight and bias at random."""
    return small_vae(width=8)


def small_vae(width, **changed):
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(width, width, 2 * width, 2 * width),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        **{"latent_channels": 4, "norm_num_groups": 4, "sample_size": 64, **changed},
    ).eval()
    for name, parameter in vae.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0, 0.3)
    return vae


@given(st.integers(8, 2048), st.floats(0, 0.5))
def test_strides_agree_in_pixels_and_latents(tile, overlap):
    plan = plan_tiles(tile, overlap)
    stride_latents = int(plan.latent * (1 - plan.overlap))  # as AutoencoderKL.tiled_decode computes it
    stride_pixels = plan.sample - int(plan.sample * plan.overlap)
    assert plan.sample == plan.latent * 8 <= max(tile, 8)
    assert stride_pixels == stride_latents * 8 > 0


@given(st.integers(64, 2048), st.floats(0, 0.5))
def test_plan_is_near_what_was_asked(tile, overlap):
    plan = plan_tiles(tile, overlap)
    assert tile - plan.sample < 8
    assert abs(plan.overlap - overlap) <= 1 / plan.latent


@settings(max_examples=examples(25))
@given(
    size=st.tuples(st.integers(4, 30), st.integers(4, 30)),
    tiles=st.tuples(st.integers(8, 128), st.integers(8, 128)),
    overlap=st.floats(0, 0.5),
    exact=st.booleans(),
)
@torch.inference_mode()
def test_no_setting_changes_the_size(vae, size, tiles, overlap, exact):
    height, width = size
    vae_tiling.apply(vae, Tiles(plan_tiles(tiles[0], overlap), plan_tiles(tiles[1], overlap), exact))
    assert vae.decode(torch.randn(1, 4, height, width)).sample.shape == (1, 3, height * 8, width * 8)
    moments = vae.encode(torch.randn(1, 3, height * 8, width * 8)).latent_dist.parameters
    assert moments.shape == (1, 8, height, width)


@settings(max_examples=examples(15))
@given(size=st.tuples(st.integers(4, 24), st.integers(4, 24)), tile=st.integers(8, 100))
@torch.inference_mode()
def test_exact_is_one_piece_but_for_rounding(vae, size, tile):
    latents, pixels = torch.randn(2, 4, *size), torch.randn(1, 3, size[0] * 8, size[1] * 8)
    vae_tiling.apply(vae, Tiles())
    whole = vae.decode(latents).sample, vae.encode(pixels).latent_dist.parameters
    vae_tiling.apply(vae, Tiles(plan_tiles(tile, 0), plan_tiles(tile, 0), exact=True))
    banded = vae.decode(latents).sample, vae.encode(pixels).latent_dist.parameters
    for one, other in zip(whole, banded, strict=True):
        assert (one - other).abs().max() < 1e-3 * one.std()


@torch.inference_mode()
def test_blended_tiles_are_further_off_than_exact_ones(vae):
    latents = torch.randn(1, 4, 24, 24)
    images = {}
    for name, tiles in {"whole": Tiles(), "blend": Tiles(decoder=plan_tiles(64, 0.25))}.items():
        vae_tiling.apply(vae, tiles)
        images[name] = vae.decode(latents).sample
    gaps = [(p - images["whole"]).abs().mean() for p in (images["blend"], vae_tiling.decode(vae, latents, 64))]
    assert gaps[0] > 100 * gaps[1]


@torch.inference_mode()
def test_exact_in_sixteen_bits_is_as_near_to_the_truth_as_one_piece():
    vae, latents = small_vae(width=16), torch.randn(1, 4, 16, 16)
    truth = vae.decode(latents).sample
    vae, rounded = vae.to(torch.bfloat16), latents.bfloat16()
    whole, banded = vae.decode(rounded).sample, vae_tiling.decode(vae, rounded, 48)
    assert banded.dtype == torch.bfloat16
    assert (banded - truth).abs().mean() < 1.5 * (whole - truth).abs().mean()


@torch.inference_mode()
def test_exact_knows_vaes_without_attention_and_without_outer_convolutions():
    vae = small_vae(8, mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False)
    latents = torch.randn(1, 4, 12, 20)
    whole = vae.decode(latents).sample
    assert (vae_tiling.decode(vae, latents, 40) - whole).abs().max() < 1e-4


@torch.inference_mode()
def test_encoder_and_decoder_have_tiles_of_their_own(vae):
    latents, pixels = torch.randn(1, 4, 16, 16), torch.randn(1, 3, 128, 128)

    def both(tiles):
        vae_tiling.apply(vae, tiles)
        return vae.decode(latents).sample, vae.encode(pixels).latent_dist.parameters

    plain = both(Tiles())
    encoder_only, decoder_only = both(Tiles(encoder=plan_tiles(64, 0))), both(Tiles(decoder=plan_tiles(64, 0)))
    assert torch.equal(encoder_only[0], plain[0]) and not torch.equal(encoder_only[1], plain[1])
    assert torch.equal(decoder_only[1], plain[1]) and not torch.equal(decoder_only[0], plain[0])
    again = both(Tiles())
    assert torch.equal(again[0], plain[0]) and torch.equal(again[1], plain[1])
    assert "_decode" not in vae.__dict__ and vae.use_tiling is False


def options(**changed):
    return {**SCHEMA.defaults(), **{f"vae.{key}": value for key, value in changed.items()}}


def test_which_tiles_are_wanted():
    assert vae_tiling.wanted_tiles(options()) == Tiles()
    both = vae_tiling.wanted_tiles(options(enable_tiling=True))
    assert both.encoder == both.decoder == plan_tiles(256, 0.125)
    assert vae_tiling.wanted_tiles({**options(), "memory.low_vram": True}) == both
    apart = vae_tiling.wanted_tiles(options(enable_tiling=True, decoder_tiling=True))
    assert (apart.encoder.sample, apart.decoder.sample) == (256, 384)
    alone = vae_tiling.wanted_tiles(options(decoder_tiling=True, tiling_mode="exact"))
    assert (alone.encoder, alone.decoder.sample, alone.exact) == (None, 384, True)
    assert alone.record == {"sample": 384, "latent": 48, "mode": "exact"}


@pytest.mark.slow
def test_exact_needs_at_most_half_of_the_memory_at_1024():
    """By the shapes alone, on tensors without values: the count is that of `bench vae`."""
    with FakeTensorMode(), torch.no_grad():
        vae, latents = bench_vae.flux_shaped("cpu"), torch.randn(1, 16, 128, 128)
        whole = bench_vae.decode(vae, lambda _: vae.decode(latents, return_dict=False)[0], "cpu")
        exact = bench_vae.decode(vae, lambda allocate: vae_tiling.decode(vae, latents, 512, allocate), "cpu")
    assert whole.device_peak > 3e9
    assert exact.device_peak < 0.5 * whole.device_peak
    assert exact.host_peak < whole.device_peak


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_exact_at_1024_is_within_two_steps_of_255():
    rows = bench_vae.compare(*_flux(1024), tile=256, overlap=0.125)
    assert rows["exact"]["largest"] <= bench_vae.MOST_STEPS < rows["blend"]["largest"]
    assert rows["exact"]["device_mb"] <= bench_vae.MOST_MEMORY * rows["one piece"]["device_mb"]


def _flux(side):
    latents = torch.randn(1, 16, side // 8, side // 8, generator=torch.Generator().manual_seed(1))
    return bench_vae.flux_shaped("cpu"), latents
