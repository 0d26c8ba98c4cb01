"""Each option that the pipeline applies acts on the next image, and leaves nothing behind when it is taken back."""

import math

import numpy as np
import pytest
import torch

from core.inference import latent_preview
from tests.models.test_exactness import generated_by, same
from tests.options import measured


def pixels(generator, request):
    return np.asarray(generator.generate(request).images[0].image).astype(int)


SCALED = {"transformer.rope_base_resolution": 64, "transformer.rope_scaling": "dype"}
QUICK = [
    {"transformer.use_rope": False},
    *({**SCALED, "transformer.rope_scaling": method} for method in ("yarn", "dype")),
    {"scheduler.shift": 1.0},
    {"vae.enable_tiling": True, "vae.tile_sample_min_size": 64},
    {"vae.decoder_tiling": True, "vae.decoder_tile_size": 64},
    {"cfg.normalization": 0.5},
    {"cfg.truncation": 0.1},
    {"force_original_resolution": False},
]
OTHERS = [
    *({**SCALED, "transformer.rope_scaling": method} for method in ("linear", "ntk")),
    {"transformer.rope_scaling": "ntk", "transformer.rope_factor": 1.5},
    {"vae.decoder_tiling": True, "vae.decoder_tile_size": 64, "vae.tile_overlap_factor": 0.5},
    {"vae.decoder_tiling": True, "vae.decoder_tile_size": 64, "force_original_resolution": False},
    {"model.dtype": "bfloat16"},
]


def named(changed):
    return ", ".join(changed)


@pytest.fixture(scope="module")
def request_of(request_of):
    """Large enough for four tiles, and two steps."""
    return lambda *given, **fields: request_of(*given, **{"width": 128, "height": 128, "num_inference_steps": 2, **fields})


@pytest.fixture(scope="module")
def neutral(generator, request_of):
    """The pixels with guidance and no option changed."""
    return pixels(generator, request_of(cfg_scale=3.0))


@pytest.mark.option(
    "transformer.use_rope",
    "transformer.rope_scaling",
    "scheduler.shift",
    "vae.enable_tiling",
    "vae.decoder_tiling",
    "vae.decoder_tile_size",
    "cfg.normalization",
    "cfg.truncation",
    "force_original_resolution",
)
@pytest.mark.parametrize("changed", [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in OTHERS)], ids=named)
def test_option_acts_and_is_taken_back(generator, request_of, neutral, changed):
    during = pixels(generator, request_of(changed=changed, cfg_scale=3.0))
    after = pixels(generator, request_of(cfg_scale=3.0))
    assert not np.array_equal(neutral, during)
    assert np.array_equal(neutral, after)
    if neutral.shape == during.shape:
        gap = np.abs(neutral - during)
        values = ", ".join(f"{key.rpartition('.')[2]}: {value}" for key, value in changed.items())
        for key in changed if len(changed) <= 2 else list(changed)[-1:]:
            measured(key, f"{values} moves pixels by {gap.mean():.1f}/255 on average, {gap.max()} at most")


@pytest.mark.option("vae.tile_overlap_factor")
def test_overlap_acts(generator, request_of):
    tiled = {"vae.enable_tiling": True, "vae.tile_sample_min_size": 64}
    less, more = (pixels(generator, request_of(changed={**tiled, "vae.tile_overlap_factor": f})) for f in (0.0, 0.5))
    assert not np.array_equal(less, more)


@pytest.mark.option(
    "transformer.rope_scaling",
    "transformer.rope_base_resolution",
    "transformer.rope_factor",
    "transformer.dype_scale",
    "transformer.dype_exponent",
)
@pytest.mark.parametrize(
    ("base", "changed"),
    [
        (SCALED, {"transformer.rope_base_resolution": 96}),
        (SCALED, {"transformer.dype_scale": 0.5}),
        (SCALED, {"transformer.dype_exponent": 0.5}),
        ({"transformer.rope_scaling": "linear", "transformer.rope_factor": 1.5}, {"transformer.rope_factor": 2.0}),
    ],
    ids=["base", "dype scale", "dype exponent", "factor"],
)
def test_what_belongs_to_a_scaling_acts_with_it(generator, request_of, base, changed):
    one, other = (
        pixels(generator, request_of(changed=options, num_inference_steps=4)) for options in (base, {**base, **changed})
    )
    assert not np.array_equal(one, other)
    ((key, value),) = changed.items()
    if key.startswith("transformer.dype"):
        gap = np.abs(one - other)
        measured(
            key, f"{value}: with dype at twice the base it moves pixels by {gap.mean():.1f}/255, {gap.max()} at most"
        )


@pytest.mark.option("vae.tiling_mode")
def test_exact_tiles_change_no_pixel_by_more_than_rounding(generator, request_of):
    tiled = {"vae.enable_tiling": True, "vae.tile_sample_min_size": 64}
    wanted = {"whole": {}, "blend": tiled, "exact": {**tiled, "vae.tiling_mode": "exact"}}
    whole, blend, exact = (pixels(generator, request_of(changed=changed)) for changed in wanted.values())
    far = {name: abs(tiled - whole).max() for name, tiled in (("blend", blend), ("exact", exact))}
    assert far["exact"] <= 1 < far["blend"]
    measured("vae.tiling_mode", f"furthest from no tiling: blend {far['blend']}/255, exact {far['exact']}/255")


def test_the_encoders_tiles_are_its_own(generator, request_of):
    """No image is encoded yet in the making of one; the VAE that is loaded is asked itself."""
    encoded = []
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for changed in ({}, {"vae.enable_tiling": True, "vae.tile_sample_min_size": 64}, {"vae.decoder_tiling": True}):
        generator.generate(request_of(changed=changed, width=64, height=64, num_inference_steps=1))
        with torch.inference_mode():
            encoded.append(generator.loaded.pipeline.vae.encode(image).latent_dist.mean)
    assert not torch.equal(encoded[0], encoded[1])
    assert torch.equal(encoded[0], encoded[2])


@pytest.mark.parametrize("turns", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_toggles_leave_the_plain_image(generator, plain, request_of, turns):
    """Each change is taken back by the next image, in one process, on one loaded model."""
    small = {"width": 96, "height": 96, "num_inference_steps": 1}
    live = [changed for changed in (*QUICK, *OTHERS) if "model.dtype" not in changed]
    untouched = generated_by(plain, request_of(**small))
    for turn in range(turns):
        generator.generate(request_of(changed=live[turn % len(live)], **small))
        assert same(generator.generate(request_of(**small)).images[0].image, untouched), live[turn % len(live)]


@pytest.mark.by_default("160")
@pytest.mark.parametrize("side", [128, 160])
def test_no_scaling_is_plain_diffusers_beyond_the_base(generator, plain, request_of, side):
    changed = {"transformer.rope_scaling": "none", "transformer.rope_base_resolution": 64}
    request = request_of(changed=changed, width=side, height=side, num_inference_steps=2)
    generator.generate(request_of(changed=SCALED, width=side, height=side, num_inference_steps=1))
    assert same(generator.generate(request).images[0].image, generated_by(plain, request))


def test_the_record_says_how_positions_were_scaled(generator, request_of):
    made = generator.generate(request_of(changed=SCALED, num_inference_steps=1)).images[0]
    assert made.effective["transformer.rope"] == {"method": "dype", "base": 64, "factors": [2.0, 2.0]}
    assert generator.generate(request_of(num_inference_steps=1)).images[0].effective["transformer.rope"] is None


@pytest.mark.option("memory.low_vram", "vae.tile_sample_min_size")
def test_low_memory_tiles_the_decoder(generator, request_of):
    small = request_of(changed={"memory.low_vram": True, "vae.tile_sample_min_size": 64})
    image = generator.generate(small).images[0]
    assert image.effective["vae.tiles"]["sample"] == 64
    measured(
        "memory.low_vram", "true: decoded in tiles; on a card (by the plan, not run) each part is there while it works"
    )


@pytest.mark.option("generation.negative_prompt")
def test_negative_prompt_acts_with_guidance_only(generator, request_of):
    def made(**fields):
        return generator.generate(request_of(**fields)).images[0]

    without, with_it = made(), made(negative_prompt="a red house")
    assert np.array_equal(np.asarray(without.image), np.asarray(with_it.image))
    assert any(choice.option == "generation.negative_prompt" for choice in with_it.decisions)
    guided = [made(cfg_scale=3.0, negative_prompt=words).image for words in ("", "a red house")]
    assert not np.array_equal(*map(np.asarray, guided))
    gap = np.abs(np.subtract(*(np.asarray(image).astype(int) for image in guided)))
    measured(
        "generation.negative_prompt", f'"a red house" at guidance 2 moves pixels by {gap.mean():.1f}/255; at 0 none'
    )


@pytest.mark.option("transformer.max_sequence_length")
def test_longest_prompt_is_cut_and_says_so(generator, request_of):
    long = "a red house at sunset " * 20
    image = generator.generate(request_of(long, changed={"transformer.max_sequence_length": 32})).images[0]
    choice = next(c for c in image.decisions if c.option == "transformer.max_sequence_length")
    assert choice.effective == 32
    assert choice.requested > 32
    measured(
        "transformer.max_sequence_length", f"32: of {choice.requested} tokens 32 were read, and the record says so"
    )
    short = generator.generate(request_of()).images[0]
    assert all(c.option != "transformer.max_sequence_length" for c in short.decisions)


def test_the_callers_prompt_is_left_alone(generator, request_of):
    request = request_of("plain words")
    generator.generate(request)
    assert request.prompt == "plain words"


@pytest.mark.option("preview.interval")
def test_previews_come_every_so_many_steps(generator, request_of, monkeypatch):
    monkeypatch.setattr(latent_preview, "SHARE", math.inf)
    seen = []
    generator.generate(
        request_of(changed={"preview.interval": 3}, num_inference_steps=4), on_progress=lambda p: seen.append((p.step, p.preview))
    )
    assert [step for step, generated in seen if generated is not None] == [3]
    measured("preview.interval", "3: one preview in four steps, after the third")
