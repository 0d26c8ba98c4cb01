"""Each option that the pipeline applies acts on the next picture, and leaves nothing behind when it is taken back."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.options import measured


def pixels(generator, request):
    return np.asarray(generator.generate(request).pictures[0].image).astype(int)


EFFECTS = [
    {"transformer.use_rope": False},
    {"scheduler.shift": 1.0},
    {"vae.enable_tiling": True, "vae.tile_sample_min_size": 64},
    {"vae.decoder_tiling": True, "vae.decoder_tile_size": 64},
    {"vae.decoder_tiling": True, "vae.decoder_tile_size": 64, "vae.tile_overlap_factor": 0.5},
    {"guidance.normalization": 0.5},
    {"guidance.truncation": 0.1},
    {"model.dtype": "bfloat16"},
    {"force_original_resolution": False},
]


@pytest.mark.option(
    "transformer.use_rope",
    "scheduler.shift",
    "vae.enable_tiling",
    "vae.decoder_tiling",
    "vae.decoder_tile_size",
    "guidance.normalization",
    "guidance.truncation",
    "force_original_resolution",
)
@pytest.mark.parametrize("changed", EFFECTS, ids=lambda changed: ", ".join(changed))
def test_option_acts_and_is_taken_back(generator, request_of, changed):
    fields = {"guidance_scale": 2.0}
    before = pixels(generator, request_of(**fields))
    during = pixels(generator, request_of(changed=changed, **fields))
    after = pixels(generator, request_of(**fields))
    assert not np.array_equal(before, during)
    assert np.array_equal(before, after)
    if before.shape == during.shape:
        gap = np.abs(before - during)
        values = ", ".join(f"{key.rpartition('.')[2]}: {value}" for key, value in changed.items())
        measured(list(changed)[-1], f"{values} moves pixels by {gap.mean():.1f}/255 on average, {gap.max()} at most")


@pytest.mark.option("vae.tile_overlap_factor")
def test_overlap_acts(generator, request_of):
    tiled = {"vae.enable_tiling": True, "vae.tile_sample_min_size": 64}
    less, more = (pixels(generator, request_of(changed={**tiled, "vae.tile_overlap_factor": f})) for f in (0.0, 0.5))
    assert not np.array_equal(less, more)


@pytest.mark.option("memory.low_vram", "vae.tile_sample_min_size")
def test_low_memory_tiles_the_decoder(generator, request_of):
    small = request_of(changed={"memory.low_vram": True, "vae.tile_sample_min_size": 64})
    picture = generator.generate(small).pictures[0]
    assert picture.effective["vae.tiles"]["sample"] == 64


@pytest.mark.option("generation.negative_prompt")
def test_negative_prompt_acts_with_guidance_only(generator, request_of):
    def made(**fields):
        return generator.generate(request_of(**fields)).pictures[0]

    without, with_it = made(), made(negative_prompt="a red house")
    assert np.array_equal(np.asarray(without.image), np.asarray(with_it.image))
    assert any(choice.option == "generation.negative_prompt" for choice in with_it.decisions)
    guided = [made(guidance_scale=2.0, negative_prompt=words).image for words in ("", "a red house")]
    assert not np.array_equal(*map(np.asarray, guided))


@pytest.mark.option("transformer.max_sequence_length")
def test_longest_prompt_is_cut_and_says_so(generator, request_of):
    long = "a red house at sunset " * 20
    picture = generator.generate(request_of(long, changed={"transformer.max_sequence_length": 32})).pictures[0]
    choice = next(c for c in picture.decisions if c.option == "transformer.max_sequence_length")
    assert choice.effective == 32
    assert choice.requested > 32
    short = generator.generate(request_of()).pictures[0]
    assert all(c.option != "transformer.max_sequence_length" for c in short.decisions)


def test_the_callers_prompt_is_left_alone(generator, request_of):
    request = request_of("plain words")
    generator.generate(request)
    assert request.prompt == "plain words"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(64, 300),
    height=st.integers(64, 300),
    tile=st.integers(64, 256),
    overlap=st.floats(0, 0.5),
    tiled=st.booleans(),
    exact=st.booleans(),
)
def test_the_picture_has_the_size_asked_for(generator, request_of, width, height, tile, overlap, tiled, exact):
    changed = {
        "vae.enable_tiling": tiled,
        "vae.tile_sample_min_size": tile,
        "vae.tile_overlap_factor": overlap,
        "force_original_resolution": exact,
    }
    request = request_of(changed=changed, width=width, height=height, num_inference_steps=1)
    picture = generator.generate(request).pictures[0]
    assert picture.image.size == (width, height)
    assert all(side % 16 == 0 for side in picture.rendered_size)


def test_extreme_ratios(generator, request_of):
    for size in ((1000, 701), (64, 2048)):
        request = request_of(width=size[0], height=size[1], num_inference_steps=1)
        assert generator.generate(request).pictures[0].image.size == size


@pytest.mark.option("preview.every")
def test_previews_come_every_so_many_steps(generator, request_of):
    seen = []
    generator.generate(request_of(changed={"preview.every": 3}), on_progress=lambda p: seen.append((p.step, p.preview)))
    assert [step for step, preview in seen if preview is not None] == [3]
    measured("preview.every", "3: one preview in four steps, after the third")
