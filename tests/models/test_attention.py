"""Backends that exist here, masks, dropout by the seed, positions that stay, and no leak into another model."""

import numpy as np
import pytest
import torch
from diffusers.models import attention_dispatch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

from core.config.options.pipeline import ATTENTION_BACKENDS
from core.inference import attention
from core.inference.attention import AttentionPlan, Shape
from tests.options import measured

SHAPE = Shape(5, 48, torch.float32, "cpu")
OPTION = "transformer.attention_backend"


def pixels(generator, request):
    return np.asarray(generator.generate(request).images[0].image).astype(int)


@pytest.fixture
def small(request_of):
    return lambda **changed: request_of(changed=changed, width=64, height=64, num_inference_steps=2)


@pytest.fixture
def fresh():
    """Probes are remembered for the life of a process; a planted backend must not be."""
    attention.probe.cache_clear()
    attention.takes_masks.cache_clear()
    yield
    attention.probe.cache_clear()
    attention.takes_masks.cache_clear()


@pytest.fixture
def planted(monkeypatch, fresh):
    """Put a function where diffusers keeps one of its backends, as if its package were installed."""

    def plant(name, function):
        monkeypatch.setattr(attention, "_check_attention_backend_requirements", lambda backend: None)
        monkeypatch.setitem(_AttentionBackendRegistry._backends, AttentionBackendName(name), function)
        names = {"query", "key", "value", "attn_mask", "dropout_p"}
        monkeypatch.setitem(_AttentionBackendRegistry._supported_arg_names, AttentionBackendName(name), names)

    return plant


def maskless(query, key, value, attn_mask=None, dropout_p=0.0):
    """Right, but without masks, as flash is."""
    if attn_mask is not None:
        raise ValueError("no masks")
    return attention_dispatch._native_math_attention(query, key, value)


# -- what there is -------------------------------------------------------------------------------------------------


def test_every_backend_is_listed_with_a_reason(generator, small):
    generator.generate(small())
    found = {c.value: c for c in generator.loaded.capabilities if c.option == OPTION}
    assert set(found) == set(ATTENTION_BACKENDS)
    assert all(capability.reason[language] for capability in found.values() for language in ("en", "zh"))
    assert found["native"].usable and found["_native_math"].usable
    if not torch.cuda.is_available():
        assert not found["sage"].usable and "sageattention" in found["sage"].reason["en"]


def test_a_backend_that_computes_something_else_is_found(planted):
    planted("sage", lambda query, key, value, attn_mask=None, dropout_p=0.0: value)
    assert not attention.probe("sage", SHAPE).usable
    assert "something else" in attention.probe("sage", SHAPE).reason["en"]


def test_masks_that_are_refused_or_misread_are_found(planted):
    planted("flash", maskless)
    assert attention.probe("flash", SHAPE).usable and not attention.takes_masks("flash", SHAPE)

    def adds_it(query, key, value, attn_mask=None, dropout_p=0.0):  # 1 and 0 as numbers on the scores
        added = None if attn_mask is None else attn_mask.to(query.dtype)
        return attention_dispatch._native_math_attention(query, key, value, attn_mask=added)

    planted("xformers", adds_it)
    assert not attention.takes_masks("xformers", SHAPE)
    assert attention.takes_masks("native", SHAPE)


# -- what acts -----------------------------------------------------------------------------------------------------


@pytest.mark.option("transformer.attention_backend")
def test_each_backend_that_works_draws_the_same_image(generator, small):
    """To 2 of 255: kernels round differently, and an image without positions would be far away."""
    plain = pixels(generator, small())
    usable = [c.value for c in generator.loaded.capabilities if c.option == OPTION and c.usable and c.value != "flex"]
    for name in usable:
        image = generator.generate(small(**{OPTION: name})).images[0]
        assert image.effective[OPTION] == name
        assert np.abs(np.asarray(image.image).astype(int) - plain).max() <= 2
    measured(OPTION, f"within 2/255 of native: {', '.join(usable)}; the others are listed with what they lack")
    assert np.abs(pixels(generator, small(**{"transformer.use_rope": False})) - plain).max() > 20
    assert np.array_equal(pixels(generator, small()), plain)


def test_a_missing_backend_is_replaced_with_its_reason(generator, small):
    image = generator.generate(small(**{OPTION: "_flash_3"})).images[0]
    choice = next(c for c in image.decisions if c.option == OPTION)
    assert (choice.requested, choice.effective, image.effective[OPTION]) == ("_flash_3", "native", "native")
    assert "FlashAttention 3" in choice.reason["en"]


def test_a_backend_without_masks_serves_guidance_with_prompts_of_unlike_length(generator, request_of, planted):
    """The same image as with masks, to 2 of 255."""
    planted("flash", maskless)
    long = {"negative_prompt": "a blue car, night, " * 6, "cfg_scale": 3.0}
    size = {"width": 64, "height": 64, "num_inference_steps": 2}
    masked = pixels(generator, request_of(**long, **size))
    image = generator.generate(request_of(changed={OPTION: "flash"}, **long, **size)).images[0]
    assert image.effective[OPTION] == "flash" and generator.loaded.plan.by_row
    assert np.abs(np.asarray(image.image).astype(int) - masked).max() <= 2


def test_a_backend_of_one_model_does_not_leak_into_another(generator, small, plain):
    plain_active = _AttentionBackendRegistry.get_active_backend()[0]
    before = pixels(generator, small())
    generator.generate(small(**{OPTION: "_native_math"}))
    assert _AttentionBackendRegistry.get_active_backend()[0] == plain_active == AttentionBackendName.NATIVE
    assert all(
        getattr(module.processor, "_attention_backend", None) is None
        for module in plain.transformer.modules()
        if hasattr(module, "processor")
    )
    try:
        plain.transformer.set_attention_backend("_native_cudnn")  # another program part; it fails on this machine's CPU
        assert np.array_equal(pixels(generator, small()), before)
    finally:
        plain.transformer.reset_attention_backend()
        _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)


@pytest.mark.option("transformer.attention_dropout")
def test_dropout_acts_is_seeded_and_leaves_the_process_alone(generator, small):
    plain = pixels(generator, small())
    state = torch.get_rng_state()
    dropped = small(**{"transformer.attention_dropout": 0.3})
    first, again = pixels(generator, dropped), pixels(generator, dropped)
    assert np.array_equal(first, again)
    assert np.abs(first - plain).mean() > 1
    gap = np.abs(first - plain).mean()
    measured("transformer.attention_dropout", f"0.3 moves pixels by {gap:.1f}/255 on average; the same twice")
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(pixels(generator, small()), plain)


def test_dropout_takes_the_backend_that_can_repeat_it(generator, small):
    image = generator.generate(small(**{"transformer.attention_dropout": 0.1, OPTION: "_native_flash"})).images[0]
    assert image.effective[OPTION] == "native"
    assert any("seed" in c.reason["en"] for c in image.decisions if c.option == OPTION)


# -- the processor itself ------------------------------------------------------------------------------------------


def test_the_processor_is_diffusers_own_bit_for_bit_in_both_numbers(plain):
    transformer = plain.transformer
    layer = transformer.layers[0].attention
    hidden = torch.randn(2, 96, transformer.config.dim)
    factors = transformer.rope_embedder(torch.randint(0, 40, (96, 3)))[None].expand(2, -1, -1)
    mask = torch.ones(2, 96, dtype=torch.bool)
    mask[1, 64:] = False
    with torch.inference_mode():
        for given in (None, mask):
            right = layer(hidden, attention_mask=given, freqs_cis=factors)
            for real in (False, True):
                ours = attention.StudioProcessor(AttentionPlan(real_rope=real), [])
                assert torch.equal(ours(layer, hidden, attention_mask=given, freqs_cis=factors), right)
