"""Scaled positions against the papers' formulas, written out again in plain Python floats; and what nothing may change."""

import math

import pytest
import torch
from diffusers.models.transformers.transformer_z_image import RopeEmbedder

from core.config.options import SCHEMA
from core.inference import rope

THETA, DIMS, LENGTHS = 256.0, [32, 48, 48], [1536, 512, 512]  # of Z-Image-Turbo
BASE = 1024  # px: 64 tokens
PLACES = [(40, 0, 0), (40, 1, 0), (40, 5, 127), (40, 127, 191), (40, 63, 64)]
ROUNDING = 1e-4  # angles of up to 200 radians are kept in float32


def plain():
    return RopeEmbedder(theta=THETA, axes_dims=DIMS, axes_lens=LENGTHS)


def planned(method, size=(3072, 2048), **changed):
    named = {f"transformer.{key}": value for key, value in changed.items()}
    options = {**SCHEMA.defaults(), "transformer.rope_scaling": method, **named}
    return rope.plan_positions(options, BASE, size)


def embedded(plan, ids, sigma=1.0):
    transformer = type("Transformer", (), {"rope_embedder": plain()})()
    rope.apply(transformer, plan)
    rope.fade_to(transformer, sigma)
    return transformer.rope_embedder(ids)


def kept(turns, slow, fast):
    """The ramp of "NTK by parts": 0 is stretched, 1 is left alone."""
    if fast <= slow:
        return 1.0 if turns >= slow else 0.0
    return min(1.0, max(0.0, (turns - slow) / (fast - slow)))


def by_parts(i, dim, s, fade=1.0):
    """YaRN's angle of frequency i, from its wavelength, with both bounds times `fade`."""
    angle = THETA ** (-2 * i / dim)
    tokens = BASE / 16
    turns = tokens / (2 * math.pi / angle)
    share = kept(turns, 1 * fade, min(32, tokens / (2 * math.pi)) * fade)
    return (1 - share) * angle / s + share * angle


FORMULAS = {
    "linear": lambda i, dim, s: THETA ** (-2 * i / dim) / s,
    "ntk": lambda i, dim, s: (THETA * s ** (dim / (dim - 2))) ** (-2 * i / dim),
    "yarn": by_parts,
    "dype": lambda i, dim, s: by_parts(i, dim, s, fade=2.0 * 0.6**2.0),
}


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_axis_follows_the_papers_formula(method, axis):
    factor = {0: 1.0, 1: 2048 / BASE, 2: 3072 / BASE}[axis]
    sharper = {"yarn": 1 + 0.1 * math.log(6) / 2, "dype": 1 + 0.1 * 2 * 0.36 * math.log(6) / 2}.get(method, 1.0)
    made = embedded(planned(method), torch.tensor(PLACES), sigma=0.6)
    start = sum(DIMS[:axis]) // 2
    for row, place in enumerate(PLACES):
        for i in range(DIMS[axis] // 2):
            angle = FORMULAS[method](i, DIMS[axis], factor) if axis else THETA ** (-2 * i / DIMS[axis])
            wanted = sharper * complex(math.cos(place[axis] * angle), math.sin(place[axis] * angle))
            assert abs(complex(made[row, start + i]) - wanted) < ROUNDING, (place, i)


@pytest.mark.parametrize("method", ["linear", "ntk", "yarn"])
def test_a_side_within_the_base_is_the_trained_one_bit_for_bit(method):
    ids, plan = torch.tensor(PLACES), planned(method, size=(2048, 1024))
    wide, trained = embedded(plan, ids), plain()(ids) * (rope.temperature(plan.factors) if method == "yarn" else 1)
    to_columns = (DIMS[0] + DIMS[1]) // 2
    assert torch.equal(wide[:, :to_columns], trained[:, :to_columns])
    assert not torch.equal(wide[:, to_columns:], trained[:, to_columns:])


def test_none_gives_the_very_embedder_back():
    transformer = type("Transformer", (), {"rope_embedder": plain()})()
    own = transformer.rope_embedder
    for method in ("yarn", "linear", "dype", "ntk"):
        rope.apply(transformer, planned(method))
        assert transformer.rope_embedder is not own
    rope.apply(transformer, planned("ntk", use_rope=False))
    assert torch.equal(transformer.rope_embedder(torch.tensor(PLACES)).abs().unique(), torch.ones(1))
    rope.apply(transformer, planned("none"))
    assert transformer.rope_embedder is own
    rope.apply(transformer, planned("yarn", size=(1024, 1024)))
    assert transformer.rope_embedder is own


def test_dype_fades_to_the_trained_positions():
    ids = torch.tensor(PLACES)
    gaps = [float((embedded(planned("dype"), ids, sigma) - plain()(ids)).abs().mean()) for sigma in (1, 0.5, 0.2, 0)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.1
    assert gaps[-1] == 0
    steady = [embedded(planned("dype", dype_exponent=0.0), ids, sigma) for sigma in (1, 0.1)]
    assert torch.equal(*steady)
    assert torch.equal(embedded(planned("dype", dype_scale=0.0), ids), plain()(ids))
    assert torch.allclose(embedded(planned("dype", dype_scale=1.0), ids), embedded(planned("yarn"), ids))


def test_words_are_not_sharpened():
    words = torch.tensor([(n, 0, 0) for n in range(1, 33)])
    assert torch.equal(embedded(planned("yarn"), words), plain()(words))


def test_factor_and_base_can_be_given():
    assert planned("ntk").factors == (2.0, 3.0)
    assert planned("ntk", rope_base_resolution=512).factors == (4.0, 6.0)
    given = planned("ntk", size=(256, 256), rope_factor=1.5)
    assert (given.method, given.factors) == ("ntk", (1.5, 1.5))
    assert planned("ntk", size=(256, 256)).record is None
    assert planned("ntk").record == {"method": "ntk", "base": 1024, "factors": [2.0, 3.0]}


def test_auto_is_what_was_chosen_above_the_base_only_and_says_so(monkeypatch):
    monkeypatch.setattr(rope, "ABOVE_BASE", "ntk")
    options = SCHEMA.defaults()
    assert planned("auto").method == "ntk"
    assert planned("auto", size=(1024, 1024)).method == "none"
    assert rope.automatic_choice(options, planned("auto", size=(1024, 1024)), (1024, 1024)) == ()
    (choice,) = rope.automatic_choice(options, planned("auto"), (3072, 2048))
    assert (choice.requested, choice.effective) == ("auto", "ntk")
    assert "3072" in choice.reason["en"] and "3072" in choice.reason["zh"]
